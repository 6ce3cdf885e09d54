"""From computed values back to pixels, and patches of them."""

from __future__ import annotations

import tensorflow as tf


def to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Rounds floats and clips them to 0..255."""
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)


def paste(image: tf.Tensor, patch: tf.Tensor, corner: tf.Tensor) -> tf.Tensor:
    """`image` (H, W, C) with the pixels of `patch` (h, w, C), maybe none, from `corner` on: top, left, int32 (2,)."""
    top, left = tf.unstack(corner)
    bottom, right = top + tf.shape(patch)[0], left + tf.shape(patch)[1]
    # Joining whole parts copies memory; choosing pixel by pixel took three times as long.
    middle = tf.concat((image[top:bottom, :left], patch, image[top:bottom, right:]), axis=1)
    return tf.ensure_shape(tf.concat((image[:top], middle, image[bottom:]), axis=0), image.shape)
