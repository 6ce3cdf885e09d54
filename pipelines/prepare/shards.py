"""Writes pictures into TFRecord files of even size, as tf.train.Example."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines import files
from pipelines.errors import DataDamaged
from pipelines.manifest import SHARDS, SPLITS

Row = dict[str, Any]
"""Of the manifest's table."""

SHARD_BYTES = 150_000_000

# In front of each record: its length (8 bytes) and that length's checksum (4); behind it: its own checksum (4).
FRAME_BYTES = 16


def name(split: str, number: int) -> str:
    """Of a shard's file."""
    return f"{split}-{number:05d}.tfrecord"


def divide(rows: Sequence[Row], shards: int | None) -> list[list[Row]]:
    """The rows, in their order, in so many parts (None: as make SHARD_BYTES each) of about as many bytes; none is empty."""
    total = sum(row["bytes"] for row in rows)
    count = shards or max(1, round(total / SHARD_BYTES))
    parts: dict[int, list[Row]] = {}
    before = 0
    for row in rows:
        parts.setdefault(before * count // total, []).append(row)
        before += row["bytes"]
    return list(parts.values())


def plan(rows: Sequence[Row], shards: int | None, taken: Iterable[str]) -> dict[str, list[Row]]:
    """Shard -> its rows, by id. Numbers go on behind those of the shards `taken`."""
    planned: dict[str, list[Row]] = {}
    names = set(taken)
    for split in SPLITS:
        first = sum(shard.startswith(f"{split}-") for shard in names)
        mine = sorted((row for row in rows if row["split"] == split), key=lambda row: row["id"])
        for number, part in enumerate(divide(mine, shards), first):
            planned[name(split, number)] = part
    return planned


def clear(folder: Path, named: Iterable[str]) -> None:
    """Deletes the shards that no manifest names: a stopped preparation left them."""
    keep = set(named)
    for path in (folder / SHARDS).glob("*"):
        if path.name not in keep:
            path.unlink()


def write(path: Path, rows: Iterable[Row], encoded: Iterable[bytes], classes: Mapping[str, int]) -> None:
    """Writes one shard, and into each row its name and the record's offset. classes: class name -> number."""
    offset = 0
    with files.file_aside(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for row, data in zip(rows, encoded, strict=True):
            record = _example(row, data, classes[row["label"]]).SerializeToString(deterministic=True)
            writer.write(record)
            row.update(shard=path.name, offset=offset)
            offset += FRAME_BYTES + len(record)


def read_unchanged(row: Row, read: Callable[[str], bytes]) -> bytes:
    """The encoded picture. Raises DataDamaged if it is not the one that was looked into."""
    path = row["path"]
    try:
        data = read(path)
    except OSError as error:
        raise DataDamaged(f"{path} cannot be read any more ({error}). Run the same command again.") from error
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise DataDamaged(f"{path} has changed while the data set was prepared. Run the same command again.")
    return data


def _example(row: Row, data: bytes, label: int) -> tf.train.Example:
    features = {
        "image/encoded": _bytes(data),
        "image/format": _bytes(row["format"].encode()),
        "image/width": _int(row["width"]),
        "image/height": _int(row["height"]),
        "image/class/label": _int(label),
        "image/class/text": _bytes(row["label"].encode()),
        "image/id": _bytes(row["id"].encode()),
        "image/filename": _bytes(row["path"].encode()),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
