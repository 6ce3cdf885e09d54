"""Keeps what is the same in each epoch, so that only the first has to make it: a picture as the network is shown it, or,
where each epoch decodes another part, the bytes of its file. What comes out is the same with and without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines import files
from pipelines.storage import ENCODED, Shards

Make = Callable[[tf.Tensor], tf.Tensor]
"""Number of an example, an int64 scalar -> something of it that is the same each time."""


class Content(NamedTuple):
    """What there is to keep."""

    spec: tf.TensorSpec
    """Of one: uint8 (H, W, C), or a scalar string."""
    examples: int
    size: int
    """Of all, bytes."""
    key: str
    """Another one for other content; safe in a file's name."""


Cache = Callable[[Make, Content], Make]
"""The same, kept."""

Place = Literal["auto", "memory", "disk", "none"]

as_it_is = tf.autograph.experimental.do_not_convert
"""A function for a pipeline, whose Python TensorFlow need not translate first: nothing here branches on tensors in Python."""

BUDGET = 2**30
"""Bytes of decoded pictures that `auto` keeps in memory."""


def choose(place: Place, folder: Path, report: Callable[[str], None], budget: int = BUDGET) -> Cache:
    """auto: in memory, as long as all that is kept is within `budget` bytes; disk: in files in `folder`, written before the
    first batch.

    report: takes a line about what is going on.
    """
    places: dict[str, Cache] = {
        "auto": _Within(budget),
        "memory": in_memory,
        "disk": partial(on_disk, folder=folder, report=report),
        "none": no_cache,
    }
    return places[place]


class _Within:
    """Keeps in memory what still fits."""

    def __init__(self, budget: int) -> None:
        self._left = budget

    def __call__(self, make: Make, content: Content) -> Make:
        if content.size > self._left:
            return make
        self._left -= content.size
        return in_memory(make, content)


def no_cache(make: Make, content: Content) -> Make:
    """Keeps nothing."""
    return make


def in_memory(make: Make, content: Content) -> Make:
    """Each is kept when it is first asked for."""
    spec = content.spec
    kept = tf.Variable(tf.zeros((content.examples, *spec.shape), spec.dtype), trainable=False)
    known = tf.Variable(tf.zeros((content.examples,), tf.bool), trainable=False)

    def fill(number: tf.Tensor) -> tf.Tensor:
        made = make(number)
        with tf.control_dependencies([kept.scatter_nd_update([[number]], made[tf.newaxis])]):
            written = tf.constant([True])
        # Known only then: another thread may ask for it meanwhile.
        with (
            tf.control_dependencies([written]),
            tf.control_dependencies([known.scatter_nd_update([[number]], written)]),
        ):
            return tf.identity(made)

    def get(number: tf.Tensor) -> tf.Tensor:
        there = known.sparse_read(number)
        return tf.ensure_shape(tf.cond(there, lambda: kept.sparse_read(number), lambda: fill(number)), spec.shape)

    return get


def on_disk(make: Make, content: Content, folder: Path, report: Callable[[str], None]) -> Make:
    """All pictures are written to a file in `folder` at once, unless it is there; files' bytes are on a disk already."""
    if content.spec.dtype == tf.string:
        return make
    file = folder / f"{content.key}.tfrecord"
    if not file.exists():
        report(f"Writing {content.examples:,} decoded pictures to {file} ({content.size / 1e6:,.1f} MB)")
        _write(file, tf.data.Dataset.range(content.examples).map(as_it_is(make), num_parallel_calls=tf.data.AUTOTUNE))
    record = file.stat().st_size // max(content.examples, 1)  # pictures of one size make records of one size
    numbers = np.arange(content.examples, dtype=np.int64)
    read = Shards([str(file)], np.zeros_like(numbers), numbers * record).reader()
    return lambda number: tf.reshape(tf.io.decode_raw(read(number), tf.uint8), content.spec.shape)


def _write(file: Path, images: tf.data.Dataset) -> None:
    with files.file_aside(file) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for image in images.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
            example = tf.train.Example(features=tf.train.Features(feature={ENCODED: feature}))
            writer.write(example.SerializeToString())
