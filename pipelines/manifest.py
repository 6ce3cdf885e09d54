"""A prepared data set: the folder that `cnn-tf prepare` writes, and what training reads from it.

manifest.parquet   a row an example, and the class names; written last: what it does not name is not there yet
shards/            SPLIT-00000.tfrecord, ...: tf.train.Example with image/encoded, image/class/label, image/class/text, ...
classes.txt  statistics.json  problems.csv  report.html   for people
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from pipelines import files
from pipelines.errors import DataDamaged, UsageError
from pipelines.storage import Files, Memory, Shards, Storage

MANIFEST = "manifest.parquet"
SHARDS = "shards"
SPLITS = ("train", "validation", "test")
GREY_MODES = frozenset({"1", "L", "I", "I;16", "LA"})

SCHEMA = pa.schema(
    [
        (
            "id",
            pa.string(),
        ),  # first 16 hexadecimal digits of the SHA-256, "-2" and so on behind those of kept duplicates
        ("path", pa.string()),  # where the source has it
        ("label", pa.string()),  # class name
        ("split", pa.string()),
        ("width", pa.int32()),  # as displayed: after EXIF orientation
        ("height", pa.int32()),
        ("mode", pa.string()),  # Pillow's: L, RGB, RGBA, P, CMYK, I;16, ...
        ("format", pa.string()),  # JPEG, PNG, GIF, BMP, WEBP
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("group", pa.string()),  # what must not be divided between splits, such as a patient; "" for none
        ("weight", pa.float32()),  # what it counts in the loss
        ("shard", pa.string()),  # file in shards/; "" if the pictures stay where they are
        ("offset", pa.int64()),  # of its record in the shard, bytes
    ]
)


@dataclass(frozen=True)
class Split:
    """Examples in a fixed order."""

    storage: Storage
    labels: npt.NDArray[np.int64]
    """(N,) index into the class names."""
    ids: npt.NDArray[np.object_]
    """(N,) text, each once."""
    sizes: npt.NDArray[np.int32]
    """(N, 2) height and width as displayed, pixels."""
    weights: npt.NDArray[np.float32]
    """(N,) what each counts in the loss."""
    lengths: npt.NDArray[np.int64]
    """(N,) of the encoded pictures, bytes."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: slice | npt.NDArray[np.int64]) -> Split:
        """The examples at `indices`, in that order."""
        chosen = np.arange(len(self))[indices]
        return Split(
            self.storage.take(chosen),
            self.labels[chosen],
            self.ids[chosen],
            self.sizes[chosen],
            self.weights[chosen],
            self.lengths[chosen],
        )


@dataclass(frozen=True)
class DataSet:
    """Splits by name ("train", "validation", "test"; not each must be there), and what their labels mean."""

    name: str
    class_names: list[str]
    splits: dict[str, Split]
    channels: int
    """1 if all pictures are grey, else 3."""
    fingerprint: str
    """Changes when an example, its label or its split does."""

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, C) if all pictures are of one size, else None."""
        sizes = np.unique(np.concatenate([split.sizes for split in self.splits.values()]), axis=0)
        return (int(sizes[0, 0]), int(sizes[0, 1]), self.channels) if len(sizes) == 1 else None

    @property
    def held_out(self) -> Split:
        """Of the splits that are there, the one that training sees least of."""
        return next(self.splits[name] for name in reversed(SPLITS) if name in self.splits)

    def split(self, name: str) -> Split:
        """The split `name`. Raises UsageError."""
        if name not in self.splits:
            raise UsageError(
                f"The data set {self.name} has no {name} split. It has: {', '.join(self.splits)}. Prepare it with one, such as "
                "cnn-tf prepare SOURCE --split train=0.8,validation=0.1,test=0.1."
            )
        return self.splits[name]


def write(folder: Path, table: pa.Table, facts: Mapping[str, Any]) -> None:
    """Publishes the data set: replaces manifest.parquet. `table` has SCHEMA; `facts`: name, class_names, root, and more."""
    with files.file_aside(folder / MANIFEST) as aside:
        pq.write_table(table.replace_schema_metadata({"cnn_tf": json.dumps(facts)}), aside)


def read(folder: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Table and facts that `write` wrote. Raises UsageError if the folder has none, DataDamaged."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(
            f"There is no prepared data set in {folder} ({MANIFEST} is missing). Run: cnn-tf prepare {folder.name}"
        )
    try:
        table = pq.read_table(path)
        return table.cast(SCHEMA), json.loads(table.schema.metadata[b"cnn_tf"])
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are ValueErrors and KeyErrors
        raise DataDamaged(
            f"The data set in {folder} cannot be read ({' '.join(str(error).split())}). Delete the folder and prepare it again."
        ) from error


def load(folder: Path) -> DataSet:
    """The data set in `folder`; no picture is read. Raises UsageError, DataDamaged."""
    table, facts = read(folder)
    class_names = facts["class_names"]
    splits = {
        name: _split(folder, part, facts)
        for name in SPLITS
        if len(part := table.filter(pc.equal(table["split"], name)))
    }
    grey = set(table["mode"].unique().to_pylist()) <= GREY_MODES
    return DataSet(facts["name"], class_names, splits, 1 if grey else 3, fingerprint(table))


def _split(folder: Path, table: pa.Table, facts: Mapping[str, Any]) -> Split:
    names, numbers = _distinct(table["label"])
    index = np.array([facts["class_names"].index(name) for name in names], np.int64)
    sizes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1)
    weights, lengths = table["weight"].to_numpy(), table["bytes"].to_numpy()
    return Split(_storage(folder, table, facts), index[numbers], _texts(table["id"]), sizes, weights, lengths)


def _storage(folder: Path, table: pa.Table, facts: Mapping[str, Any]) -> Storage:
    if not facts["sharded"]:
        root = facts["root"].rstrip("/")
        return Files(np.array([f"{root}/{path}" for path in table["path"].to_pylist()], object))
    names, numbers = _distinct(table["shard"])
    return Shards([str(folder.absolute() / SHARDS / name) for name in names], numbers, table["offset"].to_numpy())


def _distinct(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Its different texts, and for each row the number of its own."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _texts(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    return np.array(column.to_pylist(), object)


def fingerprint(table: pa.Table) -> str:
    """SHA-256 of all ids, labels and splits."""
    digest = hashlib.sha256()
    for name in ("id", "label", "split"):
        digest.update("\n".join(table[name].to_pylist()).encode())
    return digest.hexdigest()


def from_arrays(
    name: str, class_names: Sequence[str], splits: Mapping[str, tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]]
) -> DataSet:
    """A data set in memory, of pictures uint8 (N, H, W, C) and labels (N,) by split; no fault is looked for in them."""
    made = {split: _from_arrays(split, images, labels) for split, (images, labels) in splits.items()}
    channels = next(iter(splits.values()))[0].shape[-1]
    digest = hashlib.sha256(repr([split.labels.tolist() for split in made.values()]).encode())
    return DataSet(name, list(class_names), made, channels, digest.hexdigest())


def _from_arrays(name: str, images: npt.NDArray[np.uint8], labels: npt.NDArray[Any]) -> Split:
    count, height, width = images.shape[:3]
    encoded = np.empty(count, object)
    encoded[:] = [tf.io.encode_png(image).numpy() for image in images]
    ids = np.array([f"{name}-{number:05d}" for number in range(count)], object)
    sizes = np.tile(np.array([[height, width]], np.int32), (count, 1))
    lengths = np.array([len(picture) for picture in encoded], np.int64)
    return Split(Memory(encoded), labels.astype(np.int64), ids, sizes, np.ones(count, np.float32), lengths)


def random_pictures(
    name: str, class_names: list[str], input_shape: tuple[int, int, int], examples: int = 16
) -> DataSet:
    """Stands in where there is no data set: a split "test" of noise, always the same. input_shape: (H, W, C)."""
    images = np.random.default_rng(0).integers(0, 256, (examples, *input_shape), dtype=np.uint8)
    return from_arrays(name, class_names, {"test": (images, np.zeros(examples, np.int64))})
