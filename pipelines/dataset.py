"""Batches for training and for evaluation, as tf.data pipelines."""

from __future__ import annotations

import tensorflow as tf

from pipelines.array_folder import Split
from pipelines.augment import Example, augment
from pipelines.config import TrainConfig


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Whole batches in one pass; the few examples left over change with every epoch's order."""
    return len(split) // batch_size


def for_training(split: Split, config: TrainConfig, first_step: int = 0) -> tf.data.Dataset:
    """Batches from step `first_step` to the end of the last epoch: image (B, H, W, C) uint8, label (B,), seed (B, 2).

    Every epoch has an order of its own, a function of the seed and the epoch's number alone, so a training that goes on
    from any step sees the batches that it would have seen.
    """
    batch_size = config.data.batch_size
    steps = steps_per_epoch(split, batch_size)
    images, labels = tf.constant(split.images), tf.constant(split.labels, tf.int64)
    examples = len(split)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        indices = tf.random.experimental.stateless_shuffle(tf.range(examples, dtype=tf.int64), (config.seed, epoch))
        indices = indices[: steps * batch_size]
        return tf.data.Dataset.from_tensor_slices((indices, tf.fill(tf.shape(indices), epoch)))

    def read(index: tf.Tensor, epoch: tf.Tensor) -> Example:
        seed = tf.stack((tf.constant(config.seed, tf.int64), epoch * examples + index))
        return {"image": images[index], "label": labels[index], "seed": seed}

    epochs = tf.data.Dataset.range(first_step // max(steps, 1), config.epochs)
    # Shuffled within the epoch, before epochs follow each other, so that each shows every example once.
    dataset = epochs.flat_map(order).skip(first_step % max(steps, 1) * batch_size)
    dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.map(augment(config.augment), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def for_evaluation(split: Split, batch_size: int = 512) -> tf.data.Dataset:
    """One pass in order, the short last batch included: image (B, H, W, C) uint8, label (B,)."""
    examples = {"image": split.images, "label": split.labels.astype("int64")}
    return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size).prefetch(2)
