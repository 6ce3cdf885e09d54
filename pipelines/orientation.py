"""How a picture is to be turned before it is shown: EXIF's tag Orientation (JEITA CP-3451, 4.6.4 A), 1 to 8.

Read and applied by TensorFlow operations alone, so that an exported model does it too. As the standard has it, and browsers
do: a SHORT in the first directory of an APP1 segment ahead of the JPEG's tables, of a PNG's eXIf chunk ahead of its pixels,
or of a WebP's EXIF chunk. XMP is not looked at. Whatever is damaged, absurd or endless there means 1: shown as it is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

TAG, SHORT = 0x0112, 3
PREFIX = b"Exif\0\0"
# No camera writes as many. Bounds the time that a hostile file can take.
MAX_PARTS, MAX_ENTRIES = 256, 256
# Orientation -> exchange rows and columns; then turn upside down; then mirror. There is no orientation 0.
STEPS = ((0, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0))


@dataclass(frozen=True)
class _Part:
    """What the first bytes of a segment or chunk tell."""

    is_exif: tf.Tensor
    goes_on: tf.Tensor
    """Whether EXIF may still follow behind it."""
    content: tuple[int, tf.Tensor]
    """Where its content begins, and how long it is, bytes."""
    size: tf.Tensor
    """Bytes to the next part."""


def of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """A scalar string -> int32 scalar, 1..8."""
    return _orientation(encoded, 2, 10, _jpeg_part)


def of_png(encoded: tf.Tensor) -> tf.Tensor:
    """A scalar string -> int32 scalar, 1..8."""
    return _orientation(encoded, 8, 8, _png_part)


def of_webp(encoded: tf.Tensor) -> tf.Tensor:
    """A scalar string -> int32 scalar, 1..8."""
    return _orientation(encoded, 12, 8, _webp_part)


def show(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """(H, W, C) as stored -> (H, W, C) or (W, H, C) as shown."""

    def exchange() -> tf.Tensor:
        # tf.transpose of uint8 makes oneDNN write an error to the log where the processor lacks AVX-512.
        height, width, channels = tf.unstack(tf.shape(image))
        pixels = tf.reshape(image, (height * width, channels))
        return tf.gather(pixels, tf.range(width)[:, tf.newaxis] + tf.range(height) * width)

    def turn() -> tf.Tensor:
        steps = tf.constant(STEPS)[orientation] > 0
        reverse = tf.concat([steps[1:], [False]], 0)
        return tf.raw_ops.Reverse(tensor=tf.cond(steps[0], exchange, lambda: image), dims=reverse)

    return tf.cond(orientation == 1, lambda: image, turn)


def is_turned(orientation: tf.Tensor) -> tf.Tensor:
    """Whether height and width change places."""
    return orientation > 4


def stored_window(window: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Where the window (top, left, height, width), shares of the picture as shown, lies in the picture as stored."""
    steps = tf.constant(STEPS)[orientation] > 0
    corner, size = window[:2], window[2:]
    corner = tf.where(steps[1:], 1 - corner - size, corner)
    return tf.gather(tf.concat([corner, size], 0), tf.where(steps[0], [1, 0, 3, 2], [0, 1, 2, 3]))


def read_bytes(encoded: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """`count` bytes from `position` on, int64 (count,): 0 behind the end. Of strings and positions (B,): int64 (B, count)."""
    position = tf.minimum(tf.cast(position, tf.int64), tf.cast(tf.strings.length(encoded), tf.int64))
    part = tf.strings.substr(encoded, position, tf.fill(tf.shape(position), tf.constant(count, tf.int64)))
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=count), tf.int64)


def number(octets: tf.Tensor, little_endian: tf.Tensor | bool) -> tf.Tensor:
    """Unsigned numbers, int64 (...,), of bytes (..., 2) or (..., 4)."""
    powers = [256**i for i in range(octets.shape[-1])]
    little, big = tf.constant(powers, tf.int64), tf.constant(powers[::-1], tf.int64)
    return tf.reduce_sum(octets * tf.where(little_endian, little, big), -1)


def _equal(octets: tf.Tensor, text: bytes) -> tf.Tensor:
    return tf.reduce_all(octets == list(text))


def _is_jpeg_annotation(marker: tf.Tensor) -> tf.Tensor:
    """APP0 to APP15, a comment, or one more 0xFF that fills up."""
    return (marker & 0xF0 == 0xE0) | (marker >= 0xFE)


def _jpeg_part(head: tf.Tensor) -> _Part:
    marker, length = head[1], number(head[2:4], little_endian=False)
    is_exif = (marker == 0xE1) & _equal(head[4:], PREFIX)
    goes_on = (head[0] == 0xFF) & _is_jpeg_annotation(marker)
    return _Part(is_exif & goes_on, goes_on, (4, length - 2), tf.where(marker != 0xFF, 2 + length, 1))


def _png_part(head: tf.Tensor) -> _Part:
    length = number(head[:4], little_endian=False)
    return _Part(_equal(head[4:], b"eXIf"), ~_equal(head[4:], b"IDAT"), (8, length), 12 + length)


def _webp_part(head: tf.Tensor) -> _Part:
    length = number(head[4:], little_endian=True)
    return _Part(_equal(head[:4], b"EXIF"), tf.constant(True), (8, length), 8 + length + length % 2)


def _orientation(encoded: tf.Tensor, start: int, size: int, parse: Callable[[tf.Tensor], _Part]) -> tf.Tensor:
    """Walks over parts, each told by its first `size` bytes, to the one with EXIF."""
    end = tf.cast(tf.strings.length(encoded), tf.int64)

    def step(position: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = parse(read_bytes(encoded, position, size))
        following = tf.where(part.goes_on, position + part.size, end)
        return tf.where(part.is_exif, position, following), part.is_exif

    state = (tf.constant(start, tf.int64), tf.constant(False))
    position, found = tf.while_loop(
        lambda position, found: (position < end) & ~found, step, state, maximum_iterations=MAX_PARTS
    )
    begin, length = parse(read_bytes(encoded, position, size)).content
    length = tf.where(found, tf.maximum(length, 0), 0)
    return _in_tiff(tf.strings.substr(encoded, tf.minimum(position + begin, end), length))


def _in_tiff(content: tf.Tensor) -> tf.Tensor:
    start = tf.where(tf.strings.substr(content, 0, len(PREFIX)) == PREFIX, tf.constant(len(PREFIX), tf.int64), 0)
    head = read_bytes(content, start, 8)
    little = _equal(head[:4], b"II*\0")
    directory = start + number(head[4:], little)
    count = number(read_bytes(content, directory, 2), little)
    entries = tf.reshape(read_bytes(content, directory + 2, 12 * MAX_ENTRIES), (MAX_ENTRIES, 12))
    tags, types, values = (number(entries[:, i : i + 2], little) for i in (0, 2, 8))
    wanted = (tags == TAG) & (types == SHORT) & (number(entries[:, 4:8], little) == 1)
    wanted &= tf.range(MAX_ENTRIES, dtype=tf.int64) < count
    value = tf.cast(tf.reduce_max(tf.where(wanted, values, 0)), tf.int32)
    return tf.where((little | _equal(head[:4], b"MM\0*")) & (value >= 1) & (value <= 8), value, 1)
