"""Random erasing (Zhong et al., 2017)."""

from __future__ import annotations

import tensorflow as tf

from pipelines.augment import boxes
from pipelines.augment.change import Change
from pipelines.augment.pixels import paste

AREA, RATIO = (0.02, 0.4), (0.3, 1 / 0.3)


def erase(probability: float) -> Change:
    """Replaces a box by noise, each value equally probable; a picture that no box fits stays."""

    def erased(image: tf.Tensor, numbers: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        corner, sides = boxes.random_box(tf.shape(image)[:2], numbers, AREA, RATIO)
        return paste(image, _noise(tf.concat((sides, tf.shape(image)[2:]), axis=0), seed), corner)

    def apply(image: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        chance, box, seed = tf.split(numbers, (1, boxes.NUMBERS, 2))
        return tf.cond(chance[0] < probability, lambda: erased(image, box, tf.bitcast(seed, tf.int32)), lambda: image)

    return Change(1 + boxes.NUMBERS + 2, apply)


def _noise(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint8 of `shape`. Four bytes are drawn at a time."""
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform([(count + 3) // 4], seed, None, None, tf.uint32, alg="philox")
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), (-1,))[:count], shape)
