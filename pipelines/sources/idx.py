"""IDX, the format of MNIST: a big-endian header (magic number with the number of axes in its last byte, then their sizes)
and the values as bytes. http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib

import numpy as np
import numpy.typing as npt

from pipelines.errors import DataDamaged, UsageError
from pipelines.sources.arrays import Arrays, Part, as_classes, checked
from pipelines.sources.base import SPLITS
from pipelines.sources.location import Location

PICTURES = re.compile(r"(?P<part>.*?)[-_.]?images[-.]idx[34]-ubyte(?P<gz>\.gz)?")
GZIP = b"\x1f\x8b"


def parse_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The array of bytes in an IDX file's content. Raises DataDamaged."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataDamaged(f"{name} is not an IDX file of bytes")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataDamaged(f"{name} ends within its header")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise DataDamaged(f"{name} announces {shape} values and holds {len(content) - header}")
    return np.frombuffer(content, np.uint8)[header:].reshape(shape)


def to_idx(array: npt.NDArray[np.uint8]) -> bytes:
    """An IDX file's content."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def unzipped(content: bytes, name: str) -> bytes:
    """The content, unpacked if it is GZIP. Raises DataDamaged."""
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataDamaged(f"{name} is damaged: {error}") from error


def is_idx(location: Location) -> bool:
    """Whether a folder holds pictures in IDX files."""
    return any(PICTURES.fullmatch(entry.name) for entry in location.top)


def open_idx(folder: Location) -> Arrays:
    """The source: each file *-images-idx3-ubyte or -idx4-ubyte of the folder, with or without .gz, and its *-labels-idx1-ubyte.

    The word before "images" tells the split, as "train" or "t10k". Raises UsageError, DataDamaged.
    """
    names = {entry.name: entry.stamp for entry in folder.top}
    images, labels, stamps = {}, {}, []
    for name in names:
        if match := PICTURES.fullmatch(name):
            part = match["part"] or "images"
            other = _labels_of(name, set(names), folder)
            images[part], labels[part] = (parse_idx(unzipped(folder.child(n).read(), n), n) for n in (name, other))
            checked(images[part], labels[part], name)
            stamps += [names[name], names[other]]
    class_names, indices = as_classes(labels, None, folder.text)
    parts = {part: Part(images[part], indices[part], _split(part)) for part in images}
    return Arrays(folder.data_set_name(), class_names, parts, stamp=" ".join(stamps))


def _labels_of(pictures: str, names: set[str], folder: Location) -> str:
    plain = re.sub(r"images([-.])idx[34]-ubyte(\.gz)?$", r"labels\1idx1-ubyte", pictures)
    found = [name for name in (plain, f"{plain}.gz") if name in names]
    if not found:
        raise UsageError(
            f"{folder.text} holds {pictures} without its labels. Expected {plain} or {plain}.gz beside it."
        )
    return found[0]


def _split(part: str) -> str | None:
    word = re.split(r"[-_.]", part)[-1].lower()
    return "test" if word == "t10k" else SPLITS.get(word)
