"""DenseNet: Huang et al., "Densely connected convolutional networks", 2016 (arXiv:1608.06993); here DenseNet-BC.

Each layer sees the channels of all layers before it in its stage, and adds a few ("growth") to them. Between two stages, a
transition halves channels, height and width; its layers are named after the stage that it leads to.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor


class Layer(Protocol):
    """(B, H, W, C) -> (B, H, W, growth): the new channels."""

    def __call__(self, x: Tensor, growth: int, *, use_bias: bool, name: str) -> Tensor:
        """Adds the layers."""


def bottleneck(x: Tensor, growth: int, *, use_bias: bool, name: str) -> Tensor:
    """A 1x1 convolution to 4 growth channels, a 3x3 convolution; section 3, "Bottleneck layers". -> (B, H, W, growth)."""
    x = _bn_relu_conv(x, 4 * growth, 1, use_bias=use_bias, name=f"{name}_1")
    return _bn_relu_conv(x, growth, 3, use_bias=use_bias, name=f"{name}_2")


def single(x: Tensor, growth: int, *, use_bias: bool, name: str) -> Tensor:
    """A 3x3 convolution; section 3, "Composite function". -> (B, H, W, growth)."""
    return _bn_relu_conv(x, growth, 3, use_bias=use_bias, name=name)


class DenseNet(NamedTuple):
    """A column of table 1: its layer, how many of them each stage has, and the channels that each of them adds."""

    layer: Layer
    num_layers: tuple[int, ...]
    growth: int = 32
    use_bias: bool = False


# 224x224: stages at 56, 28, 14, 7.
DENSENETS = {
    "densenet121": DenseNet(bottleneck, (6, 12, 24, 16)),
    "densenet_d2l": DenseNet(single, (4, 4, 4, 4), use_bias=True),
}


def densenet(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `DENSENETS`."""
    row = DENSENETS[variant]
    inputs, x = blocks.images(input_shape)
    x = _stem(x, 2 * row.growth, use_bias=row.use_bias)
    for stage, num_layers in enumerate(row.num_layers, start=1):
        if stage > 1:
            x = _transition(x, use_bias=row.use_bias, name=f"stage{stage}_transition")
        for number in range(1, num_layers + 1):
            name = f"stage{stage}_layer{number}"
            y = row.layer(x, row.growth, use_bias=row.use_bias, name=name)
            x = layers.Concatenate(name=f"{name}_concat")([x, y])
    x = blocks.global_average(_bn_relu(x, name="head"))
    return keras.Model(inputs, blocks.logits(x, num_classes), name=variant)


def _stem(x: Tensor, filters: int, *, use_bias: bool) -> Tensor:
    """(B, H, W, C) -> (B, H/4, W/4, filters): a 7x7 convolution and a maximum over 3x3, both at strides 2."""
    x = blocks.conv(x, filters, 7, 2, use_bias=use_bias, name="stem_conv")
    return blocks.max_pool(_bn_relu(x, name="stem"), 3, 2, padding=1, name="stem_pool")


def _transition(x: Tensor, *, use_bias: bool, name: str) -> Tensor:
    """(B, H, W, C) -> (B, H/2, W/2, C/2)."""
    x = _bn_relu_conv(x, x.shape[-1] // 2, 1, use_bias=use_bias, name=name)
    return blocks.average_pool(x, 2, 2, name=f"{name}_pool")


def _bn_relu(x: Tensor, *, name: str) -> Tensor:
    return blocks.relu(blocks.batch_norm(x, name=name), name=name)


def _bn_relu_conv(x: Tensor, filters: int, kernel_size: int, *, use_bias: bool, name: str) -> Tensor:
    return blocks.conv(_bn_relu(x, name=name), filters, kernel_size, use_bias=use_bias, name=f"{name}_conv")
