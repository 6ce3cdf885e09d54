"""Where the encoded pictures of a data set lie. Each storage reads any one of them by its number, so that an order of
examples is an order of numbers: shuffled at once and wholly, and gone on with from any place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Reader = Callable[[tf.Tensor], tf.Tensor]
"""Number of an example, an int64 scalar -> its encoded picture, a scalar string."""

ENCODED = "image/encoded"
"""The feature of a tf.train.Example that is the encoded picture."""


class Storage(Protocol):
    """Encoded pictures by number."""

    def reader(self) -> Reader:
        """A function of TensorFlow operations."""

    def take(self, chosen: npt.NDArray[np.int64]) -> Storage:
        """Those with the numbers `chosen`, in that order."""


@dataclass(frozen=True)
class Shards:
    """In TFRecord files, each a tf.train.Example with the feature image/encoded."""

    paths: Sequence[str]
    shards: npt.NDArray[np.int64]
    """(N,) index into the paths."""
    offsets: npt.NDArray[np.int64]
    """(N,) where the record begins, bytes."""

    def reader(self) -> Reader:
        """Reads one record from its place; TensorFlow checks its checksum."""
        paths, shards, offsets = tf.constant(list(self.paths)), tf.constant(self.shards), tf.constant(self.offsets)
        signature = {"output_types": [tf.string], "output_shapes": [[]]}

        def read(number: tf.Tensor) -> tf.Tensor:
            # TFRecordDataset's offsets are not in TensorFlow's public class, only in its operation.
            records = tf.raw_ops.TFRecordDatasetV2(
                filenames=paths[shards[number]][tf.newaxis],
                compression_type="",
                buffer_size=0,  # reads just the record: measured faster than any buffer
                byte_offsets=offsets[number][tf.newaxis],
            )
            first = tf.raw_ops.TakeDataset(input_dataset=records, count=tf.constant(1, tf.int64), **signature)
            record = tf.raw_ops.DatasetToSingleElement(dataset=first, **signature)[0]
            features = tf.io.parse_single_example(record, {ENCODED: tf.io.FixedLenFeature((), tf.string)})
            return features[ENCODED]

        return read

    def take(self, chosen: npt.NDArray[np.int64]) -> Shards:
        """Those with the numbers `chosen`, in that order."""
        return Shards(self.paths, self.shards[chosen], self.offsets[chosen])


@dataclass(frozen=True)
class Files:
    """A file each, local or in any file system that TensorFlow reads (gs://, s3://, hdfs://)."""

    paths: npt.NDArray[np.object_]

    def reader(self) -> Reader:
        """Reads the whole file."""
        paths = tf.constant(self.paths, tf.string)
        return lambda number: tf.io.read_file(paths[number])

    def take(self, chosen: npt.NDArray[np.int64]) -> Files:
        """Those with the numbers `chosen`, in that order."""
        return Files(self.paths[chosen])


@dataclass(frozen=True)
class Memory:
    """In memory."""

    encoded: npt.NDArray[np.object_]
    """(N,) bytes."""

    def reader(self) -> Reader:
        """Takes it from there."""
        encoded = tf.constant(self.encoded, tf.string)
        return lambda number: encoded[number]

    def take(self, chosen: npt.NDArray[np.int64]) -> Memory:
        """Those with the numbers `chosen`, in that order."""
        return Memory(self.encoded[chosen])
