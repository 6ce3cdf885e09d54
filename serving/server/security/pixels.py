"""Refuses encoded pictures that would fill the memory when a model decodes them.

A few hundred bytes can announce a picture of 65535 x 65535. Only headers are read here; what they announce is what decoders
make room for. What is no picture, or one too damaged for its size to be read, passes: the model says what it thinks of it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from serving.errors import InvalidArgument
from serving.wire.tensors import Array

# Nothing shorter tells a size.
_SHORTEST = 10
# Start of frame, all kinds: the segments that hold the size. 0xC4, 0xC8 and 0xCC are others.
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a segment; 0 is no marker at all.
_JPEG_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
# Decoders skip junk before a marker, and any number of 0xFF.
_JPEG_MARKER = re.compile(rb"[^\xff]*\xff+([^\xff])")
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})

# So many fit into the time in which a large picture is decoded.
_MAX_BLOCKS = 1_000_000


def require_small_pictures(inputs: Mapping[str, Array], limit: int) -> None:
    """Checks strings that are encoded pictures, or tf.Examples that hold some.

    `limit` in pixels: width * height * frames; 0: any. Raises InvalidArgument, which names the first that is larger.
    """
    if not limit:
        return
    for name, array in inputs.items():
        if array.dtype.kind not in "OS":
            continue
        for position, value in enumerate(array.ravel().tolist()):
            if not isinstance(value, bytes) or len(value) < _SHORTEST:
                continue
            if (found := _largest(value)) > limit:
                index = ", ".join(map(str, np.unravel_index(position, array.shape)))
                raise InvalidArgument(
                    f"The picture at {name}[{index}] is too large: it has {found:,} pixels once decoded. "
                    f"At most {limit:,} are taken (--max_image_pixels)."
                )


def pixels(encoded: bytes) -> int:
    """What a JPEG, PNG, GIF, BMP or WebP announces, width * height * frames; 0 for anything else.

    Raises InvalidArgument if it takes a million blocks to tell, which no honest picture does.
    """
    for begins, read in _FORMATS:
        if encoded.startswith(begins):
            try:
                return read(encoded)
            except (struct.error, IndexError):  # it ends too early: the decoder will say so
                return 0
    return 0


def _largest(value: bytes) -> int:
    """Pixels of the picture, or of the largest in the tf.Example, that `value` is."""
    if value[:1] != b"\n":  # the tag of an Example's only field
        return pixels(value)
    return max((pixels(encoded) for encoded in _in_example(value)), default=0)


def _in_example(serialized: bytes) -> Iterator[bytes]:
    from google.protobuf.message import DecodeError
    from tensorflow.core.example import example_pb2

    try:
        example: Any = example_pb2.Example.FromString(serialized)
    except DecodeError:
        return
    for feature in example.features.feature.values():
        yield from feature.bytes_list.value


def _jpeg(encoded: bytes) -> int:
    position = 2
    for _ in range(_MAX_BLOCKS):
        found = _JPEG_MARKER.match(encoded, position)
        if found is None:
            return 0
        marker, position = found[1][0], found.end()
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", encoded, position + 3)
            return int(height * width)
        if marker not in _JPEG_ALONE:
            position += struct.unpack_from(">H", encoded, position)[0]
    raise _too_many_blocks()


def _png(encoded: bytes) -> int:
    width, height = struct.unpack_from(">II", encoded, 16)
    return int(width * height)


def _gif(encoded: bytes) -> int:
    """Every frame is decoded to the size of the whole."""
    width, height, packed = struct.unpack_from("<HHB", encoded, 6)
    frames = sum(1 for kind in _gif_blocks(encoded, 13 + _color_table(packed)) if kind == 0x2C)
    return int(width * height * max(frames, 1))


def _gif_blocks(encoded: bytes, position: int) -> Iterator[int]:
    """Kinds of the blocks (0x2C: a frame), up to the end or to where the file is cut short."""
    left = _MAX_BLOCKS
    while position + 9 < len(encoded) and (kind := encoded[position]) != 0x3B:
        yield kind
        position += 11 + _color_table(encoded[position + 9]) if kind == 0x2C else 2
        while position < len(encoded) and (size := encoded[position]):
            position += size + 1
            left -= 1
            if not left:
                raise _too_many_blocks()
        position += 1
        left -= 1


def _color_table(packed: int) -> int:
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _bmp(encoded: bytes) -> int:
    (header,) = struct.unpack_from("<I", encoded, 14)
    if header not in _BMP_HEADERS:  # a text that begins with BM
        return 0
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", encoded, 18)
    return abs(int(width) * int(height))


def _webp(encoded: bytes) -> int:
    kind = encoded[8:16]
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", encoded, 26)
        return int((width & 0x3FFF) * (height & 0x3FFF))
    if kind == b"WEBPVP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        return int(((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1))
    if kind != b"WEBPVP8X":
        return 0
    width, height = (int.from_bytes(encoded[start : start + 3], "little") + 1 for start in (24, 27))
    return width * height * max(_webp_frames(encoded), 1)


def _webp_frames(encoded: bytes) -> int:
    frames, position = 0, 30
    for _ in range(_MAX_BLOCKS):
        if position + 8 > len(encoded):
            return frames
        frames += encoded.startswith(b"ANMF", position)
        (size,) = struct.unpack_from("<I", encoded, position + 4)
        position += 8 + size + size % 2
    raise _too_many_blocks()


def _too_many_blocks() -> InvalidArgument:
    return InvalidArgument(f"A picture of more than {_MAX_BLOCKS:,} blocks is not taken (--max_image_pixels)")


_FORMATS: tuple[tuple[bytes, Callable[[bytes], int]], ...] = (
    (b"\xff\xd8\xff", _jpeg), (b"\x89PNG\r\n\x1a\n", _png), (b"GIF8", _gif), (b"BM", _bmp), (b"RIFF", _webp),
)  # fmt: skip
