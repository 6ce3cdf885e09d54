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

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: slice | npt.NDArray[np.int64]) -> Split:
        """The examples at `indices`, in that order."""
        chosen = np.arange(len(self))[indices]
        return Split(
            self.storage.take(chosen), self.labels[chosen], self.ids[chosen], self.sizes[chosen], self.weights[chosen]
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
    index = {name: number for number, name in enumerate(facts["class_names"])}
    labels = np.array([index[name] for name in table["label"].to_pylist()], np.int64)
    sizes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1)
    return Split(_storage(folder, table, facts), labels, _texts(table["id"]), sizes, table["weight"].to_numpy())


def _storage(folder: Path, table: pa.Table, facts: Mapping[str, Any]) -> Storage:
    if not facts["sharded"]:
        root = facts["root"].rstrip("/")
        return Files(np.array([f"{root}/{path}" for path in table["path"].to_pylist()], object))
    names, numbers = np.unique(_texts(table["shard"]).astype(str), return_inverse=True)
    paths = [str(folder / SHARDS / name) for name in names]
    return Shards(paths, numbers.astype(np.int64), table["offset"].to_numpy(), table["bytes"].to_numpy())


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
    return Split(Memory(encoded), labels.astype(np.int64), ids, sizes, np.ones(count, np.float32))
