"""Changes of what pixels are. Each takes uint8 (H, W, C) to uint8 of the same shape; C is 3 (RGB) or 1 (grey)."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from pipelines.augment.pixels import paste, to_uint8

# ITU-R BT.601: how bright red, green and blue are; and the axes of YIQ, whose first is brightness and the others are colour.
GREY = np.array((0.299, 0.587, 0.114), np.float32)
YIQ = np.array((GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)), np.float32)


def jitter(
    image: tf.Tensor,
    brightness: tf.Tensor | None = None,
    contrast: tf.Tensor | None = None,
    saturation: tf.Tensor | None = None,
    hue: tf.Tensor | None = None,
) -> tf.Tensor:
    """Changes brightness, contrast and saturation by factors, and the hue by a share of the colour circle; None: not at all.

    All four are linear, so they are one map of each pixel x, with the mean grey m of the whole picture,
        brightness (contrast HUE SATURATION x + (1 - contrast) m),
    where SATURATION moves x from or to its own grey and HUE turns the colour plane of YIQ. Both leave greys as they are, so
    the order of the four does not matter. Values are clipped once, at the end. Grey pictures have no saturation and no hue.
    """
    values = tf.cast(image, tf.float32)
    if image.shape[-1] == 3 and not (saturation is None and hue is None):
        values = _per_pixel(values, _hue(hue) @ _saturation(saturation))
    if contrast is not None:
        values = contrast * values + (1 - contrast) * _mean_grey(image)
    if brightness is not None:
        values = brightness * values
    return to_uint8(values)


def _per_pixel(values: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Multiplies the matrix (3, 3) with each pixel."""
    return tf.reshape(tf.matmul(tf.reshape(values, (-1, 3)), matrix, transpose_b=True), tf.shape(values))


def _saturation(factor: tf.Tensor | None) -> tf.Tensor:
    own_grey = np.tile(GREY, (3, 1))
    return tf.eye(3) if factor is None else own_grey + factor * (np.eye(3, dtype=np.float32) - own_grey)


def _hue(share: tf.Tensor | None) -> tf.Tensor:
    if share is None:
        return tf.eye(3)
    cosine, sine = tf.cos(share * (2 * math.pi)), tf.sin(share * (2 * math.pi))
    turn = tf.reshape(tf.stack((1.0, 0.0, 0.0, 0.0, cosine, -sine, 0.0, sine, cosine)), (3, 3))
    return np.linalg.inv(YIQ) @ turn @ YIQ


def _mean_grey(image: tf.Tensor) -> tf.Tensor:
    # Of whole numbers, so that the sum does not depend on how threads divide it.
    sums = tf.cast(tf.reduce_sum(tf.cast(image, tf.int32), axis=(0, 1)), tf.float32)
    weights = GREY if image.shape[-1] == 3 else np.ones(1, np.float32)
    return tf.reduce_sum(sums * weights) / tf.cast(tf.reduce_prod(tf.shape(image)[:2]), tf.float32)


def sharpen(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends with the smoothed picture: 0 is smooth, 1 the picture, 2 twice as far from smooth; the border stays.

    Smooth is the mean of 3x3 pixels in which the middle counts 5 times (Pillow's SMOOTH).
    """
    channels = image.shape[-1]
    values = tf.cast(image, tf.float32)
    weights = np.ones((3, 3), np.float32)
    weights[1, 1] = 5
    kernel = np.tile((weights / weights.sum())[:, :, np.newaxis, np.newaxis], (1, 1, channels, 1))
    smooth = tf.nn.depthwise_conv2d(values[tf.newaxis], kernel, (1, 1, 1, 1), "SAME")[0]
    smooth, middle = tf.round(smooth[1:-1, 1:-1]), values[1:-1, 1:-1]
    sharpened = to_uint8(smooth + factor * (middle - smooth))
    return paste(image, sharpened, tf.ones((2,), tf.int32))


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the highest bits of each value; bits: int32, 0..8."""
    return tf.bitwise.bitwise_and(image, tf.cast(256 - tf.bitwise.left_shift(1, 8 - bits), tf.uint8))


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts the values that are not below `threshold`, float32 0..255."""
    return tf.where(image < tf.cast(tf.math.ceil(threshold), tf.uint8), image, 255 - image)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255; a channel of one value stays."""
    low, high = (tf.cast(reduce(image, axis=(0, 1)), tf.float32) for reduce in (tf.reduce_min, tf.reduce_max))
    flat = high == low
    scale = tf.where(flat, 1.0, 255.0 / tf.where(flat, 1.0, high - low))
    return to_uint8((tf.cast(image, tf.float32) - tf.where(flat, 0.0, low)) * scale)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Makes all values of each channel about equally frequent, with Pillow's integer arithmetic."""
    channels = image.shape[-1]
    values = tf.cast(image, tf.int32) + 256 * tf.range(channels)
    none = tf.zeros((0,), tf.int32)
    counts = tf.raw_ops.Bincount(arr=tf.reshape(values, (-1,)), size=256 * channels, weights=none)
    counts = tf.reshape(counts, (channels, 256))
    pixels = tf.reduce_sum(counts, axis=1, keepdims=True)
    brightest = 255 - tf.argmax(tf.cast(counts[:, ::-1] > 0, tf.int32), axis=1, output_type=tf.int32)
    step = (pixels - tf.gather(counts, brightest, axis=1, batch_dims=1)[:, tf.newaxis]) // 255
    below = tf.cumsum(counts, axis=1, exclusive=True)
    levels = tf.where(step == 0, tf.range(256), tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255))
    return tf.gather(tf.reshape(tf.cast(levels, tf.uint8), (-1,)), values)
