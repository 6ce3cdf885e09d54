"""ResNet v2: He et al., "Identity mappings in deep residual networks", 2016 (arXiv:1603.05027).

Also Wide ResNets, which are made of its blocks: Zagoruyko and Komodakis, "Wide residual networks", 2016 (arXiv:1605.07146),
without the dropout that the paper tries inside the blocks.

Normalisation and ReLU stand before the convolutions ("pre-activation"), so nothing stands in the way from one sum to the
next: f = x + g(x). A last normalisation and ReLU follow the last block.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor
from cnn_tf.resnet import Block

_conv = partial(blocks.conv, use_bias=False)


def basic(x: Tensor, filters: int, strides: int, *, name: str) -> Tensor:
    """Two 3x3 convolutions; figure 4 (e). -> (B, H/strides, W/strides, filters)."""
    first = _bn_relu(x, name=f"{name}_1")
    y = _conv(first, filters, 3, strides, name=f"{name}_1_conv")
    y = _conv(_bn_relu(y, name=f"{name}_2"), filters, 3, name=f"{name}_2_conv")
    return _add(x, first, y, strides, name=name)


def bottleneck(x: Tensor, filters: int, strides: int, *, name: str) -> Tensor:
    """1x1, 3x3 and 1x1 convolutions, strides in the 3x3, which sees every position. -> (B, H/strides, W/strides, 4 filters)."""
    first = _bn_relu(x, name=f"{name}_1")
    y = _conv(first, filters, 1, name=f"{name}_1_conv")
    y = _conv(_bn_relu(y, name=f"{name}_2"), filters, 3, strides, name=f"{name}_2_conv")
    y = _conv(_bn_relu(y, name=f"{name}_3"), filters * 4, 1, name=f"{name}_3_conv")
    return _add(x, first, y, strides, name=name)


def stem_imagenet(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H/4, W/4, 64): a 7x7 convolution and a maximum over 3x3, both at strides 2; the blocks normalise."""
    x = _conv(x, 64, 7, 2, name="stem_conv")
    # No ReLU came before, so zeros as padding would win against negative values. At strides 1 Keras pads with minus infinity.
    x = blocks.max_pool(x, 3, 1, padding=1, name="stem_pool")
    return blocks.average_pool(x, 1, 2, name="stem_pick")


def stem_cifar(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H, W, 16)."""
    return _conv(x, 16, 3, name="stem_conv")


class ResNetV2(NamedTuple):
    """The block, how many of them each stage has, the first stage's filters, and what is before the stages.

    Each stage but the first has twice as many filters as the one before.
    """

    block: Block
    num_blocks: tuple[int, ...]
    filters: int = 64
    stem: Callable[[Tensor], Tensor] = stem_imagenet


# 224x224: stages at 56, 28, 14, 7 with 64, 128, 256, 512 filters.
RESNETS_V2 = {
    "resnet18_v2": ResNetV2(basic, (2, 2, 2, 2)),
    "resnet50_v2": ResNetV2(bottleneck, (3, 4, 6, 3)),
    "resnet101_v2": ResNetV2(bottleneck, (3, 4, 23, 3)),
    "resnet152_v2": ResNetV2(bottleneck, (3, 8, 36, 3)),
}

# 32x32: stages at 32, 16, 8 with 16k, 32k, 64k filters. wrnN_k has N = 6 blocks + 4 layers.
WIDE_RESNETS = {
    "wrn16_4": ResNetV2(basic, (2, 2, 2), 16 * 4, stem_cifar),
    "wrn28_10": ResNetV2(basic, (4, 4, 4), 16 * 10, stem_cifar),
    "wrn40_4": ResNetV2(basic, (6, 6, 6), 16 * 4, stem_cifar),
}


def resnet_v2(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `RESNETS_V2` or `WIDE_RESNETS`."""
    row = (RESNETS_V2 | WIDE_RESNETS)[variant]
    inputs, x = blocks.images(input_shape)
    x = row.stem(x)
    for stage, num_blocks in enumerate(row.num_blocks, start=1):
        for block in range(1, num_blocks + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = row.block(x, row.filters * 2 ** (stage - 1), strides, name=f"stage{stage}_block{block}")
    x = blocks.global_average(_bn_relu(x, name="head"))
    return keras.Model(inputs, blocks.logits(x, num_classes), name=variant)


def _bn_relu(x: Tensor, *, name: str) -> Tensor:
    return blocks.relu(blocks.batch_norm(x, name=name), name=name)


def _add(x: Tensor, activated: Tensor, y: Tensor, strides: int, *, name: str) -> Tensor:
    """The sum of x, or of its projection where the shapes differ, and y. activated: x after normalisation and ReLU."""
    if x.shape != y.shape:
        x = _conv(activated, y.shape[-1], 1, strides, name=f"{name}_shortcut_conv")
    return layers.Add(name=f"{name}_add")([x, y])
