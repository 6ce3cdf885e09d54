"""Random resized crops: which part of a picture the network sees (Szegedy et al., 2014)."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from pipelines.augment import boxes, draws
from pipelines.config import AugmentConfig


def random_window(config: AugmentConfig) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Size, seed -> window, as torchvision's RandomResizedCrop chooses it.

    size: int32 (2,) height and width of the picture as displayed, pixels; seed: int64 (2,).
    window: float32 (4,) top, left, height, width as shares 0..1 of them, on whole pixels.
    """

    def transform(size: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        numbers = draws.uniform(seed, draws.WINDOW, boxes.NUMBERS)
        corner, sides = boxes.random_box(size, numbers, config.crop_area, config.crop_ratio)
        largest = _largest(size, config.crop_ratio)
        found = sides > 0
        corner, sides = tf.where(found, corner, (size - largest) // 2), tf.where(found, sides, largest)
        return tf.cast(tf.concat((corner, sides), axis=0) / tf.tile(size, (2,)), tf.float32)

    return transform


def _largest(size: tf.Tensor, ratio: tuple[float, float]) -> tf.Tensor:
    """int32 (2,): height and width of the largest box whose width divided by height is within `ratio`."""
    height, width = tf.unstack(tf.cast(size, tf.float32))
    sides = tf.stack((tf.minimum(height, width / ratio[0]), tf.minimum(width, height * ratio[1])))
    return tf.maximum(tf.cast(tf.round(sides), tf.int32), 1)
