"""ConvNeXt: Liu et al., "A ConvNet for the 2020s", 2022 (arXiv:2201.03545).

A ResNet brought step by step to what vision transformers do: patches as a stem, few normalisations and activations, 7x7
convolutions of each channel by itself. Without the paper's stochastic depth, which only acts in training.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor


class ConvNeXt(NamedTuple):
    """Section 3: blocks (B) and channels (C) of each stage."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]


# 224x224: stages at 56, 28, 14, 7.
CONVNEXTS = {
    "convnext_tiny": ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768)),
}


def convnext(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `CONVNEXTS`."""
    row = CONVNEXTS[variant]
    inputs, x = blocks.images(input_shape)
    x = _layer_norm(blocks.conv(x, row.widths[0], 4, 4, padding=0, name="stem_conv"), name="stem")
    for stage, (depth, width) in enumerate(zip(row.depths, row.widths, strict=True), start=1):
        if stage > 1:
            x = _downsample(x, width, name=f"stage{stage}_downsample")
        for number in range(1, depth + 1):
            x = block(x, name=f"stage{stage}_block{number}")
    x = _layer_norm(blocks.global_average(x), name="head")
    return keras.Model(inputs, blocks.logits(x, num_classes), name=variant)


def block(x: Tensor, *, name: str) -> Tensor:
    """Figure 4: 7x7 of each channel by itself, 1x1 to four times the channels, 1x1 back. -> the same shape."""
    channels = x.shape[-1]
    y = _layer_norm(blocks.depthwise_conv(x, 7, name=f"{name}_depthwise_conv"), name=f"{name}_depthwise")
    y = blocks.conv(y, 4 * channels, 1, name=f"{name}_expand_conv")
    y = layers.Activation("gelu", name=f"{name}_expand_gelu")(y)
    y = blocks.conv(y, channels, 1, name=f"{name}_project_conv")
    return layers.Add(name=f"{name}_add")([x, _layer_scale(y, name=f"{name}_scale")])


def _downsample(x: Tensor, filters: int, *, name: str) -> Tensor:
    """(B, H, W, C) -> (B, H/2, W/2, filters)."""
    return blocks.conv(_layer_norm(x, name=name), filters, 2, 2, padding=0, name=f"{name}_conv")


def _layer_norm(x: Tensor, *, name: str) -> Tensor:
    """Over the channels of each position by itself."""
    return layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(x)


def _layer_scale(x: Tensor, *, name: str) -> Tensor:
    """Each channel times a learned factor, so small at first that a block changes next to nothing."""
    factor = keras.initializers.Constant(1e-6)
    return layers.EinsumDense("bhwc,c->bhwc", x.shape[1:], kernel_initializer=factor, name=name)(x)
