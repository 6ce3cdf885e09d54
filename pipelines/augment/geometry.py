"""Changes of where pixels are. Each takes uint8 (H, W, C) to uint8 of the same shape; what comes from outside is black."""

from __future__ import annotations

import math

import tensorflow as tf

from pipelines.augment.pixels import to_uint8


def flip(image: tf.Tensor) -> tf.Tensor:
    """Mirrors left to right."""
    return tf.reverse(image, (1,))


def translate(image: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Moves by whole pixels, int32 scalars of either sign."""
    none = tf.zeros((), tf.int32)
    before = tf.maximum((down, right, none), 0)
    after = tf.maximum((-down, -right, none), 0)
    padded = tf.pad(image, tf.stack((before, after), axis=1))
    return tf.ensure_shape(tf.slice(padded, after, tf.shape(image)), image.shape)


def rotate(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Turns counter-clockwise about the centre, taking the nearest pixel."""
    return _resample(image, _rotation(degrees), "NEAREST")


def rotate_smoothly(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Turns counter-clockwise about the centre, with bilinear interpolation."""
    return to_uint8(_resample(tf.cast(image, tf.float32), _rotation(degrees), "BILINEAR"))


def shear_x(image: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Moves each row to the right by `slope` times its distance below the middle."""
    return _resample(image, (1.0, -slope, 0.0, 1.0), "NEAREST")


def shear_y(image: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Moves each column down by `slope` times its distance right of the middle."""
    return _resample(image, (1.0, 0.0, -slope, 1.0), "NEAREST")


Matrix = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
"""a, b, c, d: (x, y) of the result, measured from the centre, comes from (a x + b y, c x + d y)."""


def _rotation(degrees: tf.Tensor) -> Matrix:
    radians = degrees * (math.pi / 180)
    cosine, sine = tf.cos(radians), tf.sin(radians)
    return cosine, -sine, sine, cosine


def _resample(image: tf.Tensor, matrix: Matrix, interpolation: str) -> tf.Tensor:
    a, b, c, d = matrix
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    x, y = (width - 1) / 2, (height - 1) / 2
    transform = tf.stack((a, b, x - a * x - b * y, c, d, y - c * x - d * y, 0.0, 0.0))
    resampled = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=transform[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(resampled[0], image.shape)
