"""Batches for training and for evaluation, as tf.data pipelines.

A training is one stream of positions: 0 to examples - 1 are the first epoch, the next as many the second, and so on. An
example's place in its epoch is a permutation's value, computed for each position by itself; so an epoch shows every example
exactly once, no buffer has to be filled, and a training that goes on from any step sees the batches it would have seen.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines import augment, transforms
from pipelines.cache import Cache, Content, Make, as_it_is, no_cache
from pipelines.config import DataConfig, TrainConfig
from pipelines.data_service import distribute
from pipelines.errors import DataDamaged
from pipelines.manifest import Split

Shape = tuple[int, int, int]
"""(H, W, C)"""
Example = dict[str, tf.Tensor]


def steps(split: Split, config: TrainConfig) -> int:
    """Batches in all epochs. All are full but the last of all: a batch may end one epoch and begin the next."""
    return math.ceil(len(split) * config.epochs / config.data.batch_size)


def for_training(
    split: Split,
    config: TrainConfig,
    input_shape: Shape,
    num_classes: int,
    *,
    first_step: int = 0,
    cache: Cache = no_cache,
    service: str | None = None,
) -> tf.data.Dataset:
    """Batches from step `first_step` to the end of the last epoch.

    image: uint8 (B, H, W, C).  label: int64 (B,).  id: string (B,).  seed: int64 (B, 2), of this example in this epoch.
    weight: float32 (B,), what it counts in the loss.  position: int64 (B,), in the stream.
    target: float32 (B, num_classes), only where labels are mixed or smoothed.

    service: address of a tf.data service that does the work; the same batches then come in any order, the last one filled up
    with examples of another epoch, and fewer if a worker dies (see data_service.py).
    """
    read = _training_example(split, config, input_shape, cache)
    mixed = augment.mix(config.augment, num_classes)
    batch_size = config.data.batch_size
    if service is None:
        examples = _positions(split, config, first_step).map(as_it_is(read), num_parallel_calls=tf.data.AUTOTUNE)
        return examples.batch(batch_size).map(as_it_is(mixed)).prefetch(2)
    examples = _endless_positions(config, first_step).map(as_it_is(read), num_parallel_calls=tf.data.AUTOTUNE)
    batches = examples.batch(batch_size, drop_remainder=True).map(as_it_is(mixed))
    return distribute(batches, range(first_step, steps(split, config)), batch_size, service).prefetch(2)


def _positions(split: Split, config: TrainConfig, first_step: int) -> tf.data.Dataset:
    return tf.data.Dataset.range(first_step * config.data.batch_size, len(split) * config.epochs)


def _endless_positions(config: TrainConfig, first_step: int) -> tf.data.Dataset:
    """It begins with steps, since a tf.data service hands out the first elements of a dataset: each batch is one worker's."""
    batch_size = config.data.batch_size
    steps = tf.data.Dataset.range(first_step, 2**40)
    return steps.flat_map(lambda step: tf.data.Dataset.range(step * batch_size, (step + 1) * batch_size))


def for_evaluation(
    split: Split, data: DataConfig, input_shape: Shape, batch_size: int = 256, cache: Cache = no_cache
) -> tf.data.Dataset:
    """One pass in order, the short last batch included: image uint8 (B, H, W, C), label int64 (B,), id string (B,)."""
    pixels = decoded(split, data, input_shape, cache)
    labels, ids = tf.constant(split.labels), tf.constant(split.ids, tf.string)
    dataset = tf.data.Dataset.range(len(split)).map(
        as_it_is(lambda number: {"image": pixels(number), "label": labels[number], "id": ids[number]}),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.batch(batch_size).prefetch(2)


def reading(batches: tf.data.Dataset) -> Iterator[Example]:
    """The batches. Raises DataDamaged if a picture cannot be read: the files are not what was prepared."""
    try:
        yield from batches
    except tf.errors.OpError as error:
        reason = re.sub(r"^\{\{.*\}\} ", "", str(error.message).splitlines()[0])  # of the graph's node
        raise DataDamaged(f"A picture of the data set cannot be read ({reason}). Prepare it again.") from error


def pictures(split: Split, data: DataConfig, input_shape: Shape) -> npt.NDArray[np.uint8]:
    """All at once, uint8 (N, H, W, C): for few."""
    batches = [batch["image"].numpy() for batch in reading(for_evaluation(split, data, input_shape))]
    return np.concatenate(batches) if batches else np.zeros((0, *input_shape), np.uint8)


def decoded(split: Split, data: DataConfig, input_shape: Shape, cache: Cache = no_cache) -> Make:
    """Number of an example -> what the network is shown of it, by the transforms that an exported model has inside."""
    read, fit = split.storage.reader(), transforms.decode_and_fit(input_shape, data.fit, data.interpolation)
    spec = tf.TensorSpec(input_shape, tf.uint8)
    size = len(split) * math.prod(input_shape)
    content = Content(spec, len(split), size, _key(split, input_shape, data.fit, data.interpolation))
    return cache(lambda number: fit(read(number)), content)


def encoded(split: Split, cache: Cache = no_cache) -> Make:
    """Number of an example -> its file's bytes."""
    content = Content(tf.TensorSpec((), tf.string), len(split), int(split.lengths.sum()), _key(split))
    return cache(split.storage.reader(), content)


def _key(split: Split, *facts: object) -> str:
    text = "\n".join((*map(str, facts), *split.ids))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _training_example(
    split: Split, config: TrainConfig, input_shape: Shape, cache: Cache
) -> Callable[[tf.Tensor], Example]:
    """Position in the stream -> example."""
    examples = len(split)
    labels, weights = tf.constant(split.labels), tf.constant(split.weights)
    ids = tf.constant(split.ids, tf.string)
    seeds = tf.strings.to_hash_bucket_fast(ids, 2**62)
    cut = _cut(split, config, input_shape, cache)
    change = augment.augment(config.augment)
    epochs = tf.constant(_epoch_seeds(config))

    def read(position: tf.Tensor) -> Example:
        # Past the end is only what a tf.data service makes in vain.
        epoch, place = epochs[position // examples % config.epochs], position % examples
        # index_shuffle of tf.random mixes less than its operation can, and small sets show it.
        number = tf.raw_ops.RandomIndexShuffle(index=place, seed=epoch[:3], max_index=examples - 1, rounds=8)
        seed = tf.stack((epoch[3], seeds[number]))
        example = {
            "label": labels[number],
            "id": ids[number],
            "seed": seed,
            "weight": weights[number],
            "position": position,
        }
        return change({**example, "image": cut(number, seed)})

    return read


def _cut(
    split: Split, config: TrainConfig, input_shape: Shape, cache: Cache
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(number, seed) -> image: the fitted whole, or a random part of it. What is the same in each epoch may be cached."""
    if not config.augment.random_resized_crop:
        pixels = decoded(split, config.data, input_shape, cache)
        return lambda number, seed: pixels(number)
    sizes, read = tf.constant(split.sizes), encoded(split, cache)
    window, decode = augment.random_window(config.augment), transforms.decode_window(input_shape)
    return lambda number, seed: decode(read(number), window(sizes[number], seed))


def _epoch_seeds(config: TrainConfig) -> npt.NDArray[np.int64]:
    """(epochs, 4): three for the order, one for the examples. Mixed well: of a small set's order, few bits of each count."""
    states = [np.random.SeedSequence((config.seed, epoch)).generate_state(4) for epoch in range(config.epochs)]
    return np.stack(states).astype(np.int64)
