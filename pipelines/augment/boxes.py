"""Random boxes: the sampling that random resized crops and random erasing share (Szegedy et al., 2014; Zhong et al., 2017)."""

from __future__ import annotations

import math

import tensorflow as tf

from pipelines.augment import draws

TRIES = 10
NUMBERS = 2 * TRIES + 2


def random_box(
    size: tf.Tensor, numbers: tf.Tensor, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[tf.Tensor, tf.Tensor]:
    """A box of random area and shape at a random place, as torchvision's RandomResizedCrop draws it.

    size: int32 (2,) height and width, pixels; numbers: float32 (NUMBERS,) in [0, 1); area: share of the picture's; ratio:
    width divided by height, uniform in its logarithm.
    Returns its corner (top, left) and its sides (height, width), int32 (2,) each: the first of the tries that fits into the
    picture; if none does, the sides are 0.
    """
    areas = draws.between(*area, numbers[:TRIES]) * tf.cast(tf.reduce_prod(size), tf.float32)
    ratios = tf.exp(draws.between(math.log(ratio[0]), math.log(ratio[1]), numbers[TRIES : 2 * TRIES]))
    sides = tf.cast(tf.round(tf.stack((tf.sqrt(areas / ratios), tf.sqrt(areas * ratios)), axis=1)), tf.int32)
    fits = tf.reduce_all((sides > 0) & (sides <= size), axis=1)
    chosen = tf.where(tf.reduce_any(fits), sides[tf.argmax(tf.cast(fits, tf.int32))], 0)
    return draws.below(size - chosen + 1, numbers[2 * TRIES :]), chosen
