"""What a network knows of a picture before it decides, as tensors of its Keras model."""

from __future__ import annotations

import keras


def with_embeddings(model: keras.Model) -> keras.Model:
    """The same network with two outputs: logits (B, classes), and embeddings, float32 (B, D).

    Embeddings are what the last layer with weights takes, averaged over space if it is a map. Layers that take a map for each
    class already are passed over, as NiN's last two are: what they take are scores and not features.
    """
    [logits] = model.outputs
    taken = (layer.input for layer in reversed(model.layers) if layer.weights)
    features = next(x for x in taken if len(x.shape) == 2 or x.shape[-1] != logits.shape[-1])
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="embeddings_pool")(features)
    return keras.Model(model.input, [logits, keras.ops.cast(features, "float32")], name=model.name)


def split(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The network up to its last feature map, (B, H, W, C) of more than one pixel, and from there to the logits.

    A map that something goes past, as inside a residual block, is passed over; so are padded ones, whose places are moved.
    """
    for layer in reversed(model.layers):
        x = layer.output
        if len(x.shape) == 4 and x.shape[1] * x.shape[2] > 1 and not isinstance(layer, keras.layers.ZeroPadding2D):
            try:
                return keras.Model(model.input, x), keras.Model(x, model.outputs[0])
            except ValueError:
                continue
    raise ValueError(f"{model.name} has no feature map.")
