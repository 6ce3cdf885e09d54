"""Random changes of training pictures. Each is a function of the example's own seed, so a resumed run repeats none."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from pipelines.config import AugmentConfig

Example = dict[str, tf.Tensor]
"""image: uint8 (H, W, C); label: int64 scalar; seed: int64 (2,), of this example in this epoch."""


def augment(config: AugmentConfig) -> Callable[[Example], Example]:
    """Example -> example with a changed image."""

    def transform(example: Example) -> Example:
        image, seed = example["image"], example["seed"]
        if config.flip:
            image = tf.image.stateless_random_flip_left_right(image, seed)
        if config.shift:
            image = _shift(image, config.shift, seed + 1)
        return {**example, "image": image}

    return transform


def _shift(image: tf.Tensor, distance: int, seed: tf.Tensor) -> tf.Tensor:
    padded = tf.pad(image, ((distance, distance), (distance, distance), (0, 0)))
    return tf.image.stateless_random_crop(padded, tf.shape(image), seed)
