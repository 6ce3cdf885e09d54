"""What in a picture spoke for its class, as a part of the graph: Grad-CAM, in the form that keeps places apart.

Selvaraju et al., 2017 (arXiv:1610.02391) weigh each feature map by the mean of its gradient; Draelos and Carin, 2020
(arXiv:2011.08891, "HiResCAM") each place by its own. Behind an average, as in ResNet, the two are the same. Where the
classifier flattens the maps, as in LeNet, the mean tells little: it left 77 of 256 pictures of Fashion-MNIST with an empty map,
the other form none.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from pipelines.features import split


def heat_maps(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Pictures, float32 (B, H, W, C) -> (heat maps for their best classes, float32 (B, H, W), 0..1; logits (B, classes)).

    The values of the network's last feature map times how much each raises the logit, added up over its channels; what is
    negative speaks for others. The largest value is 1, and all are 0 where nothing speaks for the class.
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
        heat = tf.nn.relu(tf.reduce_sum(gradients * maps, axis=3, keepdims=True))
        heat = tf.squeeze(tf.image.resize(heat, size), axis=3)
        return tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True)), logits

    return explain
