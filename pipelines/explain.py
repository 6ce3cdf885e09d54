"""What in a picture spoke for its class: Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391), as a part of the graph."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from pipelines.features import split


def grad_cam(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Pictures, float32 (B, H, W, C) -> (heat maps for their best classes, float32 (B, H, W), 0..1; logits (B, classes)).

    The maps of the network's last feature map, added up by how much each raises the logit; what is negative speaks for others.
    The largest value is 1, and all are 0 where nothing speaks for the class. That is rare where the classifier averages the
    maps, as in ResNet; where it flattens them, as in LeNet, the mean gradient tells less, and many a heat map is empty.
    """
    to_maps, to_logits = split(model)
    size = model.input_shape[1:3]

    def explain(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        maps = to_maps(images, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(maps)
            logits = to_logits(maps, training=False)
        best = tf.one_hot(tf.argmax(logits, axis=1), logits.shape[1])
        gradients = tape.gradient(logits, maps, output_gradients=best)
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=3, keepdims=True))
        heat = tf.squeeze(tf.image.resize(heat, size), axis=3)
        return tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True)), logits

    return explain
