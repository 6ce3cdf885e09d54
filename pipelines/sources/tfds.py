"""TensorFlow Datasets: `tfds:NAME`. Its files are TFRecord shards whose pictures stay encoded as they were published."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from pipelines.errors import DataUnavailable, UsageError
from pipelines.sources.base import PUBLISHED
from pipelines.sources.location import Location, as_name
from pipelines.sources.tfrecord import SHARD, Records

PREFIX = "tfds:"


def open_tfds(location: Location) -> Records:
    """The source, downloaded and prepared by TensorFlow Datasets unless it is already.

    Raises UsageError if that package or the set is not there or has no picture and class, DataUnavailable.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise UsageError(
            f"{location.text} needs TensorFlow Datasets, which is not installed: pip install '.[tfds]', in the checkout"
        ) from None
    name = location.text.removeprefix(PREFIX)
    try:
        builder = tfds.builder(name, file_format="tfrecord")
    except tfds.core.DatasetNotFoundError:
        raise UsageError(
            f"TensorFlow Datasets knows no set {name!r}. Its catalogue: https://www.tensorflow.org/datasets/catalog"
        ) from None
    except (ValueError, AssertionError) as error:  # no such configuration or version
        raise UsageError(f"TensorFlow Datasets cannot give {name!r}: {_line(error)}.") from None
    if not _is_classified(builder.info.features):
        raise UsageError(
            f"{location.text} is no set of classified pictures: its features are {', '.join(builder.info.features)}."
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # results alone belong there, not its progress
            builder.download_and_prepare()
    except Exception as error:  # downloads, checksums and generators raise what they like
        raise DataUnavailable(f"{location.text} could not be downloaded: {_line(error)}.") from error
    folder = Location.parse(str(builder.data_path))
    shards = [entry.name for entry in folder.top if SHARD.fullmatch(entry.name)]
    return Records(as_name(builder.name), folder, shards, builder.info.features["label"].names, PUBLISHED)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _is_classified(features: Any) -> bool:
    """Whether it has one picture under "image" and one class under "label", which nearly all sets of such pictures have."""
    import tensorflow_datasets as tfds

    expected = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    return all(name in features and isinstance(features[name], kind) for name, kind in expected.items())
