"""Where pictures come from. A source lists candidates without a look into them, and reads any of them by its path.

To add one: a function that makes a `Source` of a location, and a row in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.sources.base import PUBLISHED, SPLITS, Candidate, Listing, Source
from pipelines.sources.emoji import open_emoji
from pipelines.sources.fashion_mnist import open_fashion_mnist
from pipelines.sources.folder import open_folder
from pipelines.sources.idx import is_idx, open_idx
from pipelines.sources.keras_sets import open_keras
from pipelines.sources.location import Location
from pipelines.sources.npz import is_npz, open_npz
from pipelines.sources.table import find_table, open_table
from pipelines.sources.tfds import open_tfds
from pipelines.sources.tfrecord import find_shards, open_records

__all__ = ["SOURCES", "Candidate", "Listing", "Source", "open_source", "describe_sources", "PUBLISHED", "SPLITS"]


@dataclass(frozen=True)
class Kind:
    """A kind of source."""

    recognises: Callable[[Location], bool]
    opens: Callable[[Location, str | None], Source]
    """Location, and name of the column for groups or None -> source. Raises UsageError, DataUnavailable, DataDamaged."""
    example: str
    """A location."""
    help: str
    """What it holds."""


def _named(name: str) -> Callable[[Location], bool]:
    return lambda location: location.text == name


def _prefixed(prefix: str) -> Callable[[Location], bool]:
    return lambda location: location.text.startswith(prefix)


def _without_columns(opens: Callable[[Location], Source]) -> Callable[[Location, str | None], Source]:
    def open_without(location: Location, group: str | None) -> Source:
        if group is not None:
            raise UsageError(
                f"{location.text} has no columns, so none called {group!r} for the group: only a table has."
            )
        return opens(location)

    return open_without


def _open_table(location: Location, group: str | None) -> Source:
    return open_table(find_table(location) or location, group)


# The first that recognises a location opens it; names come before files, so ./emoji is a folder and emoji is not.
SOURCES: Mapping[str, Kind] = {
    "fashion_mnist": Kind(
        _named("fashion_mnist"),
        _without_columns(open_fashion_mnist),
        "fashion_mnist",
        "Fashion-MNIST: 70,000 grey pictures of clothes, 28x28, 10 classes",
    ),
    "emoji": Kind(
        _named("emoji"),
        _without_columns(open_emoji),
        "emoji",
        "712 colour pictures, 136x128: animals, flags, food, smileys",
    ),
    "keras": Kind(
        _prefixed("keras:"),
        _without_columns(open_keras),
        "keras:cifar10",
        "mnist, fashion_mnist, cifar10 or cifar100 from Keras",
    ),
    "tfds": Kind(
        _prefixed("tfds:"), _without_columns(open_tfds), "tfds:NAME", "classified pictures from TensorFlow Datasets"
    ),
    "table": Kind(
        lambda location: find_table(location) is not None,
        _open_table,
        "birds/manifest.csv",
        "CSV, TSV or JSON Lines with the columns path, label, and perhaps split, weight and a group; or a folder with one",
    ),
    "npz": Kind(
        is_npz, _without_columns(open_npz), "digits.npz", "arrays x_train, y_train, x_test, y_test; or images, labels"
    ),
    "tfrecord": Kind(
        lambda location: bool(find_shards(location)),
        _without_columns(open_records),
        "'shards/train-*.tfrecord'",
        "TFRecord shards of tf.train.Example; or a folder of them",
    ),
    "idx": Kind(
        is_idx, _without_columns(open_idx), "mnist/", "a folder of *-images-idx3-ubyte and *-labels-idx1-ubyte, or .gz"
    ),
    "folder": Kind(
        Location.is_folder,
        _without_columns(open_folder),
        "birds/",
        "a sub-folder for each class; or train, validation and test with such sub-folders",
    ),
}


def open_source(location: str, group: str | None = None) -> Source:
    """The source at a path, a URL that fsspec reads (gs://, s3://, hdfs://, ...), or of a name that `SOURCES` knows.

    group: a table's column that says what must not be divided between splits, such as a patient.

    Raises UsageError if there is nothing there or it is not as expected; DataUnavailable, DataDamaged.
    """
    place = Location.parse(location)
    for kind in SOURCES.values():
        if kind.recognises(place):
            return kind.opens(place, group)
    if place.is_file():
        raise UsageError(f"{location} is of no kind that pictures are read from. Expected one of: {_examples()}.")
    raise UsageError(
        f"There is no file or folder {location!r}, and no data set of that name. Expected one of: {_examples()}."
    )


def describe_sources() -> str:
    """A line about each kind of source, for people."""
    width = max(len(kind.example) for kind in SOURCES.values())
    return "\n".join(f"{kind.example:{width}}  {kind.help}" for kind in SOURCES.values())


def _examples() -> str:
    return ", ".join(kind.example for kind in SOURCES.values())
