"""What is done to every picture alike, in training, evaluation and in the exported model: encoded bytes to pixels.

Pictures stay uint8 with values 0..255 all the way, so what a server computes from bytes is equal, bit for bit, to what it
computes from the array that a client made of them.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def decode(channels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Encoded JPEG, PNG, GIF (first frame), BMP or WebP, a scalar string -> uint8 (H, W, channels); channels is 1 or 3."""

    def transform(encoded: tf.Tensor) -> tf.Tensor:
        if channels == 1:
            image = tf.cond(_is_colour_only(encoded), lambda: _decode_to_grey(encoded), lambda: _decode(encoded, 1))
        else:
            image = _decode(encoded, channels)
        image.set_shape((None, None, channels))
        return image

    return transform


def _decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    return tf.io.decode_image(encoded, channels=channels, expand_animations=False)


def _is_colour_only(encoded: tf.Tensor) -> tf.Tensor:
    """Whether TensorFlow decodes the format to colours only: GIF, BMP, WebP (RIFF), by its first bytes."""
    return tf.strings.regex_full_match(tf.strings.substr(encoded, 0, 4), "(GIF8|RIFF|(?s:BM.*))")


def _decode_to_grey(encoded: tf.Tensor) -> tf.Tensor:
    return tf.image.rgb_to_grayscale(_decode(encoded, 3))


def resize(height: int, width: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """uint8 (H, W, C) -> uint8 (height, width, C), bilinear and anti-aliased; a picture of that size stays as it is."""

    def transform(image: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(image, (height, width), antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    return transform


def decode_and_resize(height: int, width: int, channels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A scalar string -> uint8 (height, width, channels)."""
    decoded, resized = decode(channels), resize(height, width)
    return lambda encoded: resized(decoded(encoded))
