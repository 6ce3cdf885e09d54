"""TFRecord shards of tf.train.Example, as TensorFlow's own tools and TensorFlow Datasets write them.

A record: its length (8 bytes, little-endian), the length's checksum (4), the data, the data's checksum (4).
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnn_tf.quiet import import_tensorflow
from pipelines.errors import DataDamaged, DataUnavailable, UsageError
from pipelines.problems import Problem, ProblemKind
from pipelines.sources.arrays import number_names
from pipelines.sources.base import SPLITS, Candidate, Listing
from pipelines.sources.idx import GZIP
from pipelines.sources.location import Location, as_name

PICTURE = ("image/encoded", "image")
TEXT = ("image/class/text",)
LABEL = ("image/class/label", "label")
EXPECTED = "image/encoded or image (an encoded picture) and image/class/text, image/class/label or label"

SHARD = re.compile(r".*\.tfrecords?([-_.].*)?|.*-\d{5}-of-\d{5}", re.IGNORECASE)
LENGTH, CHECKSUM = 8, 4


@dataclass(frozen=True)
class Records:
    """Pictures in the records of shards. A picture's path is its shard's and the byte where its record begins."""

    name: str
    folder: Location
    shards: Sequence[str]
    """Paths relative to the folder. A word in a name, such as "train" in train-00000-of-00002.tfrecord, tells the split."""
    class_names: Sequence[str] = ()
    """What whole numbers stand for; none: themselves, or the text beside them."""
    kept: frozenset[str] = frozenset()
    root: str = ""

    def list(self) -> Listing:
        """A candidate for each record with one picture and one label; a problem for each other one.

        Raises DataDamaged if a checksum is wrong, UsageError if no record has the features that are expected.
        """
        labels: dict[str, str | int] = {}
        splits: dict[str, str | None] = {}
        stamps: dict[str, str] = {}
        problems: list[Problem] = []
        for shard in self.shards:
            split, stamp = _split(shard), self.folder.child(shard).stamp()
            for offset, record in _records(self.folder.child(shard)):
                path = f"{shard}/{offset:012d}"
                label = _label(record)
                if isinstance(label, Problem):
                    problems.append(Problem(label.kind, path, label.detail))
                else:
                    labels[path], splits[path], stamps[path] = label, split, stamp
        if problems and not labels:
            raise UsageError(f"No record of {self.folder.text} can be used: {problems[0].detail}. Expected {EXPECTED}.")
        names = self._names([label for label in labels.values() if isinstance(label, int)])
        return [
            Candidate(path, names[label] if isinstance(label, int) else label, splits[path], stamp=stamps[path])
            for path, label in sorted(labels.items())
        ], problems

    def _names(self, numbers: Sequence[int]) -> Sequence[str]:
        highest = max(numbers, default=0)
        if not self.class_names:
            return number_names(highest)
        if highest >= len(self.class_names):
            raise DataDamaged(f"{self.folder.text} has a label {highest} and {len(self.class_names)} classes.")
        return self.class_names

    def read(self, path: str) -> bytes:
        """The encoded picture of the record. Raises OSError if it is not there any more."""
        shard, _, offset = path.rpartition("/")
        location, start = self.folder.child(shard), int(offset)
        header = location.read(start, start + LENGTH)
        if len(header) == LENGTH:
            begin = start + LENGTH + CHECKSUM
            record = location.read(begin, begin + struct.unpack("<Q", header)[0])
            if (picture := _one(_features(record), PICTURE)) is not None:
                return bytes(picture)
        raise OSError(f"There is no picture at byte {start} of {location.text}: it has changed.")


def find_shards(location: Location) -> list[Location]:
    """The shards that a folder holds, a pattern such as data/train-*.tfrecord matches, or the one that it is."""
    if location.is_folder():
        return [
            location.child(entry.name) for entry in location.top if not entry.is_folder and SHARD.fullmatch(entry.name)
        ]
    if location.is_file():
        return [location] if SHARD.fullmatch(posixpath.basename(location.path)) else []
    found = location.fs.glob(location.path) if re.search(r"[*?\[]", location.path) else []
    return [Location(path, location.fs, path) for path in sorted(found) if SHARD.fullmatch(posixpath.basename(path))]


def open_records(location: Location) -> Records:
    """The source; no shard is read yet."""
    shards = find_shards(location)
    root = posixpath.commonpath([shard.parent.path for shard in shards])
    name = posixpath.basename(root) if location.path != shards[0].path else location.data_set_name()
    relative = [posixpath.relpath(shard.path, root) for shard in shards]
    return Records(as_name(name), Location(location.text, location.fs, root), relative)


def _records(shard: Location) -> Iterator[tuple[int, bytes]]:
    """Each record of a shard and the byte where it begins; TensorFlow checks the checksums. Raises DataDamaged."""
    import_tensorflow()
    import tensorflow as tf

    offset = 0
    try:
        for record in tf.data.TFRecordDataset(shard.url).as_numpy_iterator():
            yield offset, record
            offset += LENGTH + CHECKSUM + len(record) + CHECKSUM
    except tf.errors.DataLossError:
        if offset == 0 and shard.read(0, len(GZIP)) == GZIP:
            raise UsageError(
                f"{shard.text} is compressed, so its records cannot be read one by one. Unpack it first: gunzip."
            ) from None
        raise DataDamaged(
            f"{shard.text} is damaged from byte {offset} on: a checksum is wrong or its end is missing. "
            "Get the file again, or move it out of the folder."
        ) from None
    except tf.errors.OpError as error:
        raise DataUnavailable(f"{shard.text} cannot be read by TensorFlow: {error.message}.") from error


def _label(record: bytes) -> str | int | Problem:
    """Class name, or number where there is no name."""
    features = _features(record)
    if not isinstance(_one(features, PICTURE), bytes):
        return Problem(ProblemKind.BAD_ROW, "", f"the record has no encoded picture; features: {_listed(features)}")
    text, label = _one(features, TEXT), _one(features, LABEL)
    name = text or label
    if isinstance(name, bytes):
        return name.decode(errors="backslashreplace")
    if isinstance(label, int) and label >= 0:
        return label
    return Problem(ProblemKind.BAD_ROW, "", f"the record has not one label; features: {_listed(features)}")


def _features(record: bytes) -> dict[str, Any]:
    """Values by name of feature; none if the record is no tf.train.Example."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return {}
    return {
        name: getattr(feature, kind).value for name, feature in features.items() if (kind := feature.WhichOneof("kind"))
    }


def _one(features: dict[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of these features that is there, if it has one value alone, else None."""
    values: Any = next((features[name] for name in names if name in features), ())
    return values[0] if len(values) == 1 else None


def _listed(features: dict[str, Any]) -> str:
    return ", ".join(sorted(features)) or "none"


def _split(shard: str) -> str | None:
    words = re.split(r"[-_./]", shard.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)
