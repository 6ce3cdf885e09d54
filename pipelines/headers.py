"""What encoded pictures announce in their headers, read by TensorFlow operations alone, and none that can fail.

For a batch at once, so that it costs a small picture little. The sizes are those that TensorFlow's decoders make room for: of
a JPEG its frame's (any kind of SOF), of a PNG its IHDR's, of a WebP its canvas's, of a BMP its header's, of a GIF the screen's
or the largest frame's, or all frames' together if that is more, since each of them is unpacked.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from pipelines.orientation import number, read_bytes

JPEG, PNG, GIF, BMP, WEBP, OTHER = range(6)
HEAD = 32
# No camera writes as many segments. Bounds the time that a hostile file can take; so does the number of a GIF's blocks, of
# which each frame or extension counts as many as it costs time.
MAX_SEGMENTS = 1024
MAX_BLOCKS, PART = 2**17, 32
# How many bytes of junk a step passes over, and of a GIF's blocks how many.
JUNK, UNROLLED = 16, 8
LARGEST = 2**31 - 1

_SIGNS = (
    (0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (0, b"GIF8"), (0, b"BM"), (8, b"WEBP"),
)  # fmt: skip
_SEGMENT, _FRAME, _END, _ALONE = range(4)
_MARKERS = {
    **dict.fromkeys(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}, _FRAME),
    **dict.fromkeys((0x01, *range(0xD0, 0xD8)), _ALONE),
    **dict.fromkeys((0xD8, 0xD9, 0xDA), _END),
}
# PNG's colour types: grey, -, colours, palette, grey and alpha, -, colours and alpha.
_PNG_CHANNELS = (1, 0, 3, 3, 2, 0, 4)


class Headers(NamedTuple):
    """Of each picture in a batch, (B,)."""

    kind: tf.Tensor
    """int32: JPEG to WEBP, or OTHER."""
    pixels: tf.Tensor
    """int64: at most 2**62; 0 if the header is damaged or does not end."""
    channels: tf.Tensor
    """int64: as stored; 0 for what the format has no name for."""
    is_animated_webp: tf.Tensor
    is_whole: tf.Tensor
    """Whether the file ends as its format wants it; one that does not may be cut off."""


def read(encoded: tf.Tensor) -> Headers:
    """Of encoded pictures, string (B,)."""
    head = read_bytes(encoded, tf.zeros_like(encoded, tf.int64), HEAD)
    signs = [_equal(head[:, start : start + len(sign)], sign) for start, sign in _SIGNS]
    signs[WEBP] &= _equal(head[:, :4], b"RIFF")
    kind = tf.argmax(tf.stack([*signs, tf.ones_like(signs[0])], -1), -1, output_type=tf.int32)
    jpeg_pixels, jpeg_channels = _jpeg(encoded, kind == JPEG)
    ones = tf.ones_like(jpeg_pixels)
    pixels = (jpeg_pixels, _png(head), _gif(encoded, kind == GIF), _bmp(head), _webp(head), 0 * ones)
    channels = (
        jpeg_channels,
        _png_channels(head),
        3 * ones,
        number(head[:, 28:30], little_endian=True) // 8,
        3 * ones,
        0 * ones,
    )
    return Headers(
        kind,
        tf.gather(tf.stack(pixels, -1), kind, batch_dims=1),
        tf.gather(tf.stack(channels, -1), kind, batch_dims=1),
        (kind == WEBP) & _equal(head[:, 12:16], b"VP8X") & (head[:, 20] & 2 > 0),
        _is_whole(encoded, head, kind),
    )


def _equal(octets: tf.Tensor, text: bytes) -> tf.Tensor:
    return tf.reduce_all(octets == list(text), -1)


def _area(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Limited, so that no product is beyond 64 bits."""
    return tf.minimum(height, LARGEST) * tf.minimum(width, LARGEST)


def _png(head: tf.Tensor) -> tf.Tensor:
    area = _area(*(number(head[:, start : start + 4], little_endian=False) for start in (16, 20)))
    return tf.where(_equal(head[:, 12:16], b"IHDR"), area, 0)


def _png_channels(head: tf.Tensor) -> tf.Tensor:
    known = tf.constant([*_PNG_CHANNELS, 0], tf.int64)
    return tf.gather(known, tf.minimum(head[:, 25], len(_PNG_CHANNELS)))


def _bmp(head: tf.Tensor) -> tf.Tensor:
    sides = (number(head[:, start : start + 4], little_endian=True) for start in (18, 22))
    # A negative height: the rows are stored from the top.
    return _area(*(tf.where(side > LARGEST, 2**32 - side, side) for side in sides))


def _webp(head: tf.Tensor) -> tf.Tensor:
    """By the first chunk: lossy, lossless or extended (Google, "WebP Container Specification")."""
    lossy = [number(head[:, start : start + 2], little_endian=True) & 0x3FFF for start in (26, 28)]
    bits = number(head[:, 21:25], little_endian=True)
    lossless = [(bits & 0x3FFF) + 1, (bits // 2**14 & 0x3FFF) + 1]
    extended = [number(head[:, start : start + 3], little_endian=True) + 1 for start in (24, 27)]
    area = tf.zeros_like(bits)
    for name, sides in ((b"VP8 ", lossy), (b"VP8L", lossless), (b"VP8X", extended)):
        area = tf.where(_equal(head[:, 12:16], name), _area(*sides), area)
    return area


def _jpeg(encoded: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels and channels, int64 (B,), of those that are `chosen`: 0 of the others, and where no frame is found.

    As libjpeg walks: over junk and bytes that fill, from segment to segment, to the frame or to where the tables end.
    """
    end = tf.cast(tf.strings.length(encoded), tf.int64)
    markers = tf.constant([_MARKERS.get(marker, _SEGMENT) for marker in range(256)])

    def step(position: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        window = read_bytes(encoded, position, JUNK + 10)
        following = window[:, 1 : JUNK + 1]
        begins = (window[:, :JUNK] == 0xFF) & (following != 0xFF) & (following != 0)
        skipped, found = tf.argmax(begins, -1), tf.reduce_any(begins, -1)
        segment = tf.gather(window, skipped[:, tf.newaxis] + tf.range(10, dtype=tf.int64), batch_dims=1)
        kind = tf.where(found, tf.gather(markers, segment[:, 1]), _SEGMENT)
        length = tf.where(kind != _ALONE, tf.maximum(number(segment[:, 2:4], little_endian=False), 2), 0)
        position = tf.where(found, position + skipped + 2 + length, position + JUNK)
        sides = number(tf.reshape(segment[:, 5:9], (-1, 2, 2)), little_endian=False)
        frame = tf.where((kind == _FRAME)[:, tf.newaxis], tf.concat([sides, segment[:, 9:]], -1), frame)
        return tf.where((kind == _FRAME) | (kind == _END), end, position), frame

    begin = tf.where(chosen, tf.constant(2, tf.int64), end)
    frame = tf.zeros_like(end)[:, tf.newaxis] * [[1, 1, 1]]
    _, frame = tf.while_loop(
        lambda position, frame: tf.reduce_any(position < end),
        step,
        (begin, frame),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None, 3])),
        maximum_iterations=MAX_SEGMENTS,
    )
    return frame[:, 0] * frame[:, 1], frame[:, 2]


def _gif(encoded: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """int64 (B,), of those that are `chosen`; of the others 0."""
    places = tf.where(chosen)

    def read_each() -> tf.Tensor:
        sizes = tf.map_fn(_gif_pixels, tf.gather_nd(encoded, places), fn_output_signature=tf.int64)
        return tf.scatter_nd(places, sizes, tf.shape(chosen, tf.int64))

    return tf.cond(tf.reduce_any(chosen), read_each, lambda: tf.zeros_like(chosen, tf.int64))


def _gif_pixels(encoded: tf.Tensor) -> tf.Tensor:
    """Scalar string -> int64 scalar."""
    octets = tf.concat([tf.io.decode_raw(encoded, tf.uint8), tf.zeros(1, tf.uint8)], 0)
    end = tf.size(octets, tf.int64) - 1

    def behind_data(position: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """From the first of a chain of blocks, each with its length ahead, to behind the empty one that ends it."""

        def length(position: tf.Tensor) -> tf.Tensor:
            return tf.cast(tf.gather(octets, tf.minimum(position, end)), tf.int64)

        def step(position: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            for _ in range(UNROLLED):
                size = length(position)
                position += size + tf.cast(size > 0, tf.int64)
            return position, steps + UNROLLED

        position, steps = tf.while_loop(
            lambda position, steps: (length(position) > 0) & (steps < MAX_BLOCKS), step, (position, steps)
        )
        return position + 1, steps

    def part(position: tf.Tensor, steps: tf.Tensor, all_frames: tf.Tensor, sides: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = read_bytes(encoded, position, 10)
        is_frame = head[0] == 0x2C
        frame = tf.where(is_frame, number(tf.reshape(head[5:9], (2, 2)), little_endian=True), 0)
        data = position + tf.where(is_frame, 11 + _color_table(head[9]), 2)
        following, steps = behind_data(tf.where(is_frame | (head[0] == 0x21), data, end), steps + PART)
        return following, steps, all_frames + tf.reduce_prod(frame), tf.maximum(sides, frame)

    head = read_bytes(encoded, 6, 5)
    screen = number(tf.reshape(head[:4], (2, 2)), little_endian=True)
    zero = tf.constant(0, tf.int64)
    _, steps, all_frames, sides = tf.while_loop(
        lambda position, steps, *_: (position < end) & (steps < MAX_BLOCKS),
        part,
        (13 + _color_table(head[4]), zero, zero, screen),
    )
    return tf.where(steps < MAX_BLOCKS, tf.maximum(all_frames, tf.reduce_prod(sides)), 0)


def _color_table(packed: tf.Tensor) -> tf.Tensor:
    """Bytes."""
    return tf.where(packed >= 0x80, 3 * 2 ** ((packed & 7) + 1), 0)


def _is_whole(encoded: tf.Tensor, head: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    tail = read_bytes(encoded, tf.maximum(length - 8, 0), 8)
    wholes = (
        _equal(tail[:, 6:], b"\xff\xd9"),
        _equal(tail, b"IEND\xaeB`\x82"),
        tail[:, 7] == 0x3B,
        number(head[:, 2:6], little_endian=True) <= length,
        number(head[:, 4:8], little_endian=True) + 8 <= length,
        tf.zeros_like(length, tf.bool),
    )
    return tf.gather(tf.stack(wholes, -1), kind, batch_dims=1)
