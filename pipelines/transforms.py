"""What is done to every picture alike, in training, evaluation and in the exported model: encoded bytes to pixels.

Pictures stay uint8 with values 0..255 all the way, so what a server computes from bytes is equal, bit for bit, to what it
computes from the array that a client made of them. TensorFlow operations alone: each function works on its own, in
tf.function, in tf.map_fn and in a tf.data pipeline. What is no picture raises tf.errors.InvalidArgumentError.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines import orientation

Transform = Callable[[tf.Tensor], tf.Tensor]

# Luma of ITU-R BT.601 in units of 1 / 65536, which is what Pillow's convert("L") uses.
LUMA = (19595, 38470, 7471)
# libjpeg's slow and exact one, which Pillow and OpenCV use as well.
DCT = "INTEGER_ACCURATE"
# By how much libjpeg can shrink a picture while it decodes, for less than the cost of decoding all of it.
RATIOS = (1, 2, 4, 8)


@functools.cache
def decode(channels: int) -> Transform:
    """Encoded picture, a scalar string -> uint8 (H, W, channels), as it is to be shown; channels is 1 or 3.

    JPEG     equal to Pillow bit for bit, progressive and CMYK ones too (but for CMYK without Adobe's marker, which Pillow
             takes for inverted). Grey of a colour JPEG is its own luma (Pillow's draft mode), but that of a CMYK one is
             made of its colours.
    PNG      1 to 16 bits (of 16 the upper 8), palettes, interlaced. One transparent colour (tRNS without a palette) is not
             looked at.
    WebP     lossy and lossless; animated ones are refused.  GIF  the first frame, its transparent pixels black.
    BMP      8 (palette), 24 and 32 bits (without alpha), not compressed.

    EXIF orientation is applied (see `orientation`). Alpha is laid over white: (colour * alpha + 255 * (255 - alpha)) / 255,
    to nearest. Grey of colours is (19595 R + 38470 G + 7471 B + 32768) >> 16, as in Pillow.

    Always the same function, whose rare parts take TensorFlow a second to trace, once.
    """
    turned_jpeg = _aside(
        lambda encoded: orientation.show(_decode_jpeg(encoded, channels), orientation.of_jpeg(encoded))
    )
    other = _aside(lambda encoded: _decode_other(encoded, channels))

    def png(encoded: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_png(encoded, channels)

    def jpeg(encoded: tf.Tensor) -> tf.Tensor:
        return _decode_jpeg(encoded, channels)

    kinds = (jpeg, png, png if channels == 3 else other, turned_jpeg, other)

    def transform(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.switch_case(_kind(encoded), [functools.partial(kind, encoded) for kind in kinds])
        image.set_shape((None, None, channels))
        return image

    return transform


def to_channels(channels: int) -> Transform:
    """uint8 (H, W, 1 or 3) -> uint8 (H, W, channels): grey three times, or the luma of colours; channels is 1 or 3."""

    def transform(image: tf.Tensor) -> tf.Tensor:
        convert = _to_grey if channels == 1 else lambda image: tf.tile(image, (1, 1, 3))
        return tf.cond(tf.shape(image)[-1] == channels, lambda: image, lambda: convert(image))

    return transform


def fit(height: int, width: int, how: str = "stretch", interpolation: str = "bilinear") -> Transform:
    """uint8 (H, W, C) -> uint8 (height, width, C); a picture of that size stays, bit for bit, as it is.

    how             stretch: each side for itself. crop: scaled, keeping its shape, so that it covers the size (the longer
                    side rounded down), then cut out of the middle (half a pixel goes to the even side); for a square this
                    is torchvision's Resize and CenterCrop. letterbox: scaled, keeping its shape, so that it fits (the
                    shorter side rounded, at least 1), in the middle of black (an odd pixel goes to the bottom or right).
    interpolation   bilinear (triangle) or bicubic (Keys, 1981, a = -0.5): pixels' centres are at halves; where the picture
                    shrinks, the kernel is widened by the scale (anti-aliasing), as in Pillow and torchvision. area: the
                    mean of what a pixel covers.

    Computed in float32, rounded to nearest (half to even), limited to 0..255. Bilinear and bicubic are within 1 of Pillow,
    which rounds between its two passes as well (and limits bicubic's overshoots there: 27 apart at black and white noise).
    """
    resize = {"stretch": _stretch, "crop": _crop, "letterbox": _letterbox}[how]

    def transform(image: tf.Tensor) -> tf.Tensor:
        size = tf.shape(image)[:2]
        fitted = tf.cond(
            tf.reduce_all(size == (height, width)),
            lambda: image,
            lambda: resize(image, size, height, width, interpolation),
        )
        fitted.set_shape((height, width, image.shape[-1]))
        return fitted

    return transform


def decode_and_fit(
    input_shape: tuple[int, int, int], how: str = "stretch", interpolation: str = "bilinear"
) -> Transform:
    """Encoded picture, a scalar string -> uint8 `input_shape`: `decode`, then `fit`."""
    height, width, channels = input_shape
    decoded, fitted = decode(channels), fit(height, width, how, interpolation)
    return lambda encoded: fitted(decoded(encoded))


@functools.cache
def decode_window(input_shape: tuple[int, int, int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Encoded picture and window -> uint8 `input_shape`: what the window shows. For training, where it must be fast.

    window   float32 (4,): top, left, height, width, shares 0..1 of the picture as shown; its edges are rounded to pixels.

    Of a JPEG, no more than the window is decoded, at 1/2, 1/4 or 1/8 of its size if that is not below `input_shape`. What
    is left is bilinear, without anti-aliasing, rounded half up. The whole as a window is equal to `decode_and_fit` at the same
    size, within 1 of it when enlarged, and within 5 (on the average 1) when shrunk by a tenth; differences grow from there.
    """
    height, width, channels = input_shape
    turned_jpeg = _aside(lambda encoded, window: _turned_jpeg_window(encoded, window, input_shape))
    other = _aside(lambda encoded, window: _cut(_decode_other(encoded, channels), window))

    def png(encoded: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        return _cut(tf.io.decode_png(encoded, channels), window)

    def jpeg(encoded: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        return _jpeg_window(encoded, window, input_shape)

    kinds = (jpeg, png, png if channels == 3 else other, turned_jpeg, other)

    def transform(encoded: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        part = tf.switch_case(_kind(encoded), [functools.partial(kind, encoded, window) for kind in kinds])
        # From float values it is twice as fast, and gives the same. Never beyond 0..255, as bilinear weights are not
        # negative; so this is the cheapest way to round.
        values = tf.cast(part[tf.newaxis], tf.float32)
        resized = tf.raw_ops.ResizeBilinear(images=values, size=(height, width), half_pixel_centers=True)
        image = tf.cast(resized[0] + 0.5, tf.uint8)
        return tf.ensure_shape(image, input_shape)

    return transform


def _kind(encoded: tf.Tensor) -> tf.Tensor:
    """What it takes: 0 JPEG, tables right behind JFIF's header; 1 grey, 2 colour PNG, pixels right behind its header; 3 other
    JPEG; 4 anything else.

    The first three have neither orientation nor alpha. A small PNG is decoded sooner than further questions are answered.
    """
    # Where in the file, and what is there.
    signs = ((0, b"\xff\xd8\xff"), (20, b"\xff\xdb"), (0, b"\x89PNG"), (25, b"\0"), (25, b"\2"), (37, b"IDAT"))
    places, texts = zip(*signs, strict=True)
    places = tf.minimum(places, tf.strings.length(encoded))
    found = tf.strings.substr(encoded, places, [len(text) for text in texts]) == texts
    kinds = tf.reduce_all(tf.gather(found, [[0, 0, 1], [2, 3, 5], [2, 4, 5], [0, 0, 0]]), -1)
    return tf.argmax(tf.concat([kinds, [True]], 0), output_type=tf.int32)


def _aside(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """For what is rarely needed: else its operations are inlined, and each picture pays for passing over them."""
    aside: Callable[..., tf.Tensor] = tf.function(
        function, autograph=False, experimental_attributes={"_noinline": True}
    )
    return aside


def _begins_with(encoded: tf.Tensor, text: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(text)) == text


def _decode_jpeg(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """As stored."""
    return _jpeg_channels(encoded, channels, lambda channels: tf.io.decode_jpeg(encoded, channels, dct_method=DCT))


def _jpeg_channels(encoded: tf.Tensor, channels: int, decode: Callable[[int], tf.Tensor]) -> tf.Tensor:
    """Decodes in two steps to grey what libjpeg does not: the four channels of CMYK."""
    if channels == 3:
        return decode(3)
    is_cmyk = tf.image.extract_jpeg_shape(encoded)[2] == 4
    return tf.cond(is_cmyk, lambda: _to_grey(decode(3)), lambda: decode(1))


def _decode_other(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    # TensorFlow's decoder writes past its memory for animated WebP: the process would die of one file.
    with tf.control_dependencies([tf.debugging.Assert(~_is_animated_webp(encoded), ["Animated WebP is not decoded."])]):
        encoded = tf.identity(encoded)
    image = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    image.set_shape((None, None, None))
    kinds = [_begins_with(encoded, b"\x89PNG"), _begins_with(encoded, b"RIFF"), _begins_with(encoded, b"BM")]
    image = tf.switch_case(
        tf.argmax([*kinds, True], output_type=tf.int32),
        [
            lambda: orientation.show(_over_white(image), orientation.of_png(encoded)),
            lambda: orientation.show(_over_white(image), orientation.of_webp(encoded)),
            lambda: _bmp(encoded, image),
            lambda: image,
        ],
    )
    return to_channels(channels)(image)


def _is_animated_webp(encoded: tf.Tensor) -> tf.Tensor:
    """By the flag in its extended header (Google, "WebP Container Specification", section 2.7)."""
    octets = tf.io.decode_raw(tf.strings.substr(encoded, 0, 21), tf.uint8)
    octets = tf.pad(octets, [[0, 21 - tf.size(octets)]])
    is_extended = tf.reduce_all(tf.concat([octets[:4], octets[8:16]], 0) == list(b"RIFFWEBPVP8X"))
    return is_extended & (octets[20] & 2 > 0)


def _to_grey(image: tf.Tensor) -> tf.Tensor:
    luma = tf.reduce_sum(tf.cast(image, tf.int32) * LUMA, -1, keepdims=True)
    return tf.cast((luma + 0x8000) // 0x10000, tf.uint8)


def _over_white(image: tf.Tensor) -> tf.Tensor:
    """(H, W, C) of grey or colours, with or without alpha -> (H, W, 1 or 3)."""

    def over_white() -> tf.Tensor:
        levels = tf.cast(image, tf.int32)
        alpha = levels[..., -1:]
        return tf.cast((levels[..., :-1] * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)

    return tf.cond(tf.shape(image)[-1] % 2 == 0, over_white, lambda: image)


def _bmp(encoded: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """What TensorFlow decodes takes a palette's indices for grey and does not look whether the file is compressed."""
    header = orientation.read_bytes(encoded, 14, 52)
    compression = orientation.number(header[16:20], little_endian=True)
    usual_masks = tf.reduce_all(header[40:] == [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    readable = (header[0] >= 40) & ((compression == 0) | ((compression == 3) & usual_masks))
    check = tf.debugging.Assert(readable, ["This kind of BMP is not supported: compressed, or its header is too old."])
    with tf.control_dependencies([check]):
        image = tf.identity(image)

    def colours() -> tf.Tensor:
        used = orientation.number(header[32:36], little_endian=True)
        palette = tf.reshape(orientation.read_bytes(encoded, 14 + header[0], 4 * 256), (256, 4))
        blue_green_red = tf.cast(palette[: tf.where(used > 0, used, 256), :3], tf.uint8)
        return tf.reverse(tf.gather(blue_green_red, tf.cast(image[..., 0], tf.int32)), [-1])

    return tf.cond(tf.shape(image)[-1] == 1, colours, lambda: image[..., :3])


def _resize(image: tf.Tensor, size: Any, interpolation: str) -> tf.Tensor:
    return tf.saturate_cast(tf.round(tf.image.resize(image, size, interpolation, antialias=True)), tf.uint8)


def _stretch(image: tf.Tensor, size: tf.Tensor, height: int, width: int, interpolation: str) -> tf.Tensor:
    return _resize(image, (height, width), interpolation)


def _crop(image: tf.Tensor, size: tf.Tensor, height: int, width: int, interpolation: str) -> tf.Tensor:
    # size[0] * width, in the order of billions, needs 64 bits.
    rows, columns = tf.unstack(tf.cast(size, tf.int64))
    covering = tf.where(
        columns * height >= rows * width,
        tf.stack([height, columns * height // rows]),
        tf.stack([rows * width // columns, width]),
    )
    resized = _resize(image, tf.cast(covering, tf.int32), interpolation)
    top, left = tf.unstack(tf.cast(tf.round((covering - (height, width)) / 2), tf.int32))
    return resized[top : top + height, left : left + width]


def _letterbox(image: tf.Tensor, size: tf.Tensor, height: int, width: int, interpolation: str) -> tf.Tensor:
    scale = tf.reduce_min(tf.constant((height, width), tf.float64) / tf.cast(size, tf.float64))
    fitting = tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 1)
    top, left = tf.unstack(((height, width) - fitting) // 2)
    return tf.image.pad_to_bounding_box(_resize(image, fitting, interpolation), top, left, height, width)


def _jpeg_window(encoded: tf.Tensor, window: tf.Tensor, input_shape: tuple[int, int, int]) -> tf.Tensor:
    """Of the picture as stored."""
    height, width, channels = input_shape
    crop = _pixels(window, tf.image.extract_jpeg_shape(encoded)[:2])
    times = tf.reduce_min(crop[2:] // (height, width))

    def decode_at(ratio: int) -> Callable[[], tf.Tensor]:
        # libjpeg counts pixels of the smaller picture.
        return lambda: _jpeg_channels(
            encoded,
            channels,
            lambda channels: tf.raw_ops.DecodeAndCropJpeg(
                contents=encoded, crop_window=crop // ratio, channels=channels, ratio=ratio, dct_method=DCT
            ),
        )

    return tf.switch_case(tf.reduce_sum(tf.cast(times >= RATIOS[1:], tf.int32)), [decode_at(r) for r in RATIOS])


def _turned_jpeg_window(encoded: tf.Tensor, window: tf.Tensor, input_shape: tuple[int, int, int]) -> tf.Tensor:
    height, width, channels = input_shape
    turned = orientation.of_jpeg(encoded)
    stored = orientation.stored_window(window, turned)
    part = tf.cond(
        orientation.is_turned(turned),
        lambda: _jpeg_window(encoded, stored, (width, height, channels)),
        lambda: _jpeg_window(encoded, stored, input_shape),
    )
    return orientation.show(part, turned)


def _cut(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    top, left, height, width = tf.unstack(_pixels(window, tf.shape(image)[:2]))
    return image[top : top + height, left : left + width]


def _pixels(window: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Shares -> whole pixels (top, left, height, width), of each side at least one."""
    limits = tf.cast(size, tf.float32)
    begin = tf.minimum(tf.round(window[:2] * limits), limits - 1)
    end = tf.round((window[:2] + window[2:]) * limits)
    return tf.cast(tf.concat([begin, tf.maximum(end - begin, 1)], 0), tf.int32)
