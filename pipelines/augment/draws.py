"""Random numbers out of an example's seed."""

from __future__ import annotations

import tensorflow as tf

# What the seed is moved by, so that the stages draw independent numbers from the same one.
WINDOW, CHANGES, MIXING, MIXUP, CUTMIX = ((stage + 1) << 40 for stage in range(5))


def uniform(seed: tf.Tensor, stage: int, count: int) -> tf.Tensor:
    """float32 (count,) in [0, 1). seed: int64 (2,); stage: one of the above."""
    return tf.random.stateless_uniform([count], for_stage(seed, stage), alg="philox")


def for_stage(seed: tf.Tensor, stage: int) -> tf.Tensor:
    """int64 (2,): a seed of this stage's own."""
    return seed + tf.constant([stage, 0], tf.int64)


def between(low: float | tf.Tensor, high: float | tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Brings numbers in [0, 1) to low..high."""
    return low + (high - low) * numbers


def below(count: int | tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Turns numbers in [0, 1) into int32 0 to count - 1, each equally probable."""
    return tf.cast(tf.cast(count, tf.float32) * numbers, tf.int32)
