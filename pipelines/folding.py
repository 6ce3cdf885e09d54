"""Folds batch normalization into the layer before it: at inference both are linear, so one layer does the work of two.

Jacob et al., 2017 (arXiv:1712.05877), section 3.2. With f = gamma / sqrt(variance + epsilon), the kernel becomes f times
itself, and the bias beta + f (bias - mean).
"""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np

LINEAR = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """A copy of `model`, which answers the same but for rounding; its layers keep their names, those folded are gone.

    A normalization stays whose input something else reads too, or where an activation is between, as in ResNet v2.
    """
    pairs = _pairs(model)
    linear = {layer.name for layer in pairs.values()}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        return type(layer).from_config({**config, "use_bias": True} if layer.name in linear else config)

    def call(layer: keras.Layer, x: keras.KerasTensor, **settings: object) -> keras.KerasTensor:
        return x if layer.name in pairs else layer(x, **settings)

    folded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in folded.layers:
        if layer.weights and layer.name not in linear:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    for name, layer in pairs.items():
        folded.get_layer(layer.name).set_weights(_folded(layer, model.get_layer(name)))
    return folded


def _pairs(model: keras.Model) -> dict[str, keras.Layer]:
    """Names of the normalizations that can be folded -> the layers before them."""
    readers = Counter(id(x) for layer in model.layers for x in keras.tree.flatten(layer.input))
    readers.update(id(x) for x in model.outputs)
    linear = {
        id(layer.output): layer
        for layer in model.layers
        if isinstance(layer, LINEAR) and layer.activation is keras.activations.linear
    }
    return {
        layer.name: linear[id(layer.input)]
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and id(layer.input) in linear
        and readers[id(layer.input)] == 1
        and layer.axis in (-1, len(layer.input.shape) - 1)
    }


def _folded(layer: keras.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel and bias of both together."""
    mean, variance = (np.asarray(weight, np.float64) for weight in (norm.moving_mean, norm.moving_variance))
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * norm.gamma.numpy()
    bias = (layer.bias.numpy() if layer.use_bias else 0) - mean
    beta = norm.beta.numpy() if norm.center else 0
    kernel = layer.kernel.numpy()
    # A depthwise convolution's last two axes, (C, multiplier), are its output channels.
    channels = kernel.shape[-2:] if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel.shape[-1:]
    return [kernel * factor.reshape(channels), beta + factor * bias]
