"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998 (no arXiv id);
lecture note, section "LeNet".

The note shows d2l.ai's classroom form: sigmoids, plain average pooling, all maps connected, a softmax classifier (here:
logits). The network of 1998 has scaled tanh, trainable sub-sampling, a sparsely connected third layer and an RBF output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import keras
import numpy as np
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor
from cnn_tf.errors import PictureVanishes
from cnn_tf.layers import TakeChannels

# Table 1 of the paper: which of the six maps of S2 each of the sixteen maps of C3 sees.
CONNECTIONS = (
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


class Step(Protocol):
    """Tensor -> tensor."""

    def __call__(self, x: Tensor, *, name: str) -> Tensor:
        """Adds the layers."""


def sigmoid(x: Tensor, *, name: str) -> Tensor:
    """1 / (1 + exp(-x))."""
    return layers.Activation("sigmoid", name=f"{name}_sigmoid")(x)


def normalised_sigmoid(x: Tensor, *, name: str) -> Tensor:
    """Batch normalisation first."""
    return sigmoid(blocks.batch_norm(x, name=name), name=name)


def squash(x: Tensor, *, name: str) -> Tensor:
    """The paper's sigmoid, appendix A."""
    return layers.Activation(scaled_tanh, name=f"{name}_tanh")(x)


def scaled_tanh(x: Tensor) -> Tensor:
    """1.7159 tanh(2x/3), which is about 1 at 1 and -1 at -1."""
    return 1.7159 * keras.ops.tanh(x * (2 / 3))


keras.saving.register_keras_serializable("cnn_tf")(scaled_tanh)  # so that models with it can be saved


def average(x: Tensor, *, name: str) -> Tensor:
    """(B, H, W, C) -> (B, H/2, W/2, C)."""
    return blocks.average_pool(x, 2, name=f"{name}_pool")


def subsample(x: Tensor, *, name: str) -> Tensor:
    """(B, H, W, C) -> (B, H/2, W/2, C): the mean, times a gain, plus a bias; both are learnt, one each per map."""
    x = average(x, name=name)
    x = layers.DepthwiseConv2D(1, depthwise_initializer="ones", name=f"{name}_gain")(x)
    return squash(x, name=f"{name}_gain")


def full(x: Tensor, *, name: str) -> Tensor:
    """(B, H, W, 6) -> (B, H-4, W-4, 16), all maps connected."""
    return _conv(x, 16, name=f"{name}_conv")


def sparse(x: Tensor, *, name: str) -> Tensor:
    """(B, H, W, 6) -> (B, H-4, W-4, 16), connected as in table 1."""
    maps = [_map(x, seen, name=f"{name}_map{number}") for number, seen in enumerate(CONNECTIONS)]
    return layers.Concatenate(name=f"{name}_maps")(maps)


def codes(x: Tensor, num_classes: int) -> Tensor:
    """(B, C) -> (B, num_classes): RBF units, -||x - w||^2 with a fixed code w of -1 and +1 for each class, drawn at random.

    As -||x - w||^2 = 2 w.x - ||x||^2 - C and only differences of logits matter, 2 w.x is left: a layer without training.
    """
    signs = np.random.default_rng(1998).choice((-1.0, 1.0), (num_classes, x.shape[-1]))
    float32 = keras.config.dtype_policy().variable_dtype
    layer = layers.Dense(num_classes, use_bias=False, trainable=False, dtype=float32, name="logits")
    result = layer(x)
    layer.set_weights([2 * signs.T])
    return result


class LeNet(NamedTuple):
    """What differs between the forms; as it stands, d2l's."""

    padding: str = "valid"
    """Of the first convolution; "same" keeps the size."""
    activate: Step = sigmoid
    pool: Step = average
    conv2: Step = full
    classify: Callable[[Tensor, int], Tensor] = blocks.logits


# lenet5_bn is d2l's section on batch normalisation: without padding, 28x28 pictures leave the encoder as 16x4x4 instead of
# 16x5x5, so it has fewer parameters in spite of the normalisation (44,878 against 61,706).
VARIANTS = {
    "lenet5": LeNet(padding="same"),
    "lenet5_bn": LeNet(activate=normalised_sigmoid),
    "lenet5_paper": LeNet(activate=squash, pool=subsample, conv2=sparse, classify=codes),
}


def lenet(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `VARIANTS`.

    28x28, lenet5: conv 6@28, pool 14, conv 16@10, pool 5, dense 120, 84, num_classes. lenet5_bn: 24, 12, 8, 4.
    32x32, lenet5_paper: 28, 14, 10, 5; there C5, a 5x5 convolution in the paper, is the dense layer with 120 units.
    """
    row = VARIANTS[variant]
    inputs, x = blocks.images(input_shape)
    x = row.activate(_conv(x, 6, padding=row.padding, name="stage1_conv"), name="stage1")
    x = row.pool(x, name="stage1")
    x = row.activate(row.conv2(x, name="stage2"), name="stage2")
    x = row.pool(x, name="stage2")
    x = layers.Flatten(name="head_flatten")(x)
    for name, units in (("head_dense1", 120), ("head_dense2", 84)):
        x = row.activate(layers.Dense(units, name=name)(x), name=name)
    return keras.Model(inputs, row.classify(x, num_classes), name=variant)


def _conv(x: Tensor, filters: int, *, padding: str = "valid", name: str) -> Tensor:
    """A 5x5 convolution that begins as suits sigmoids; blocks.conv's are for ReLU. Raises PictureVanishes."""
    side = min(x.shape[1:3])
    if padding == "valid" and side < 5:
        raise PictureVanishes(
            f"The picture vanishes in {name}: A kernel of size 5 does not fit into {side} rows or columns."
        )
    return layers.Conv2D(filters, 5, padding=padding, name=name)(x)


def _map(x: Tensor, seen: tuple[int, ...], *, name: str) -> Tensor:
    return _conv(TakeChannels(seen, name=f"{name}_take")(x), 1, name=f"{name}_conv")
