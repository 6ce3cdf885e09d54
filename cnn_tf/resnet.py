"""ResNet: He et al., "Deep residual learning for image recognition", 2015 (arXiv:1512.03385); lecture note, section "ResNet".

Also its direct heirs, which change the block and nothing else: ResNeXt (Xie et al., 2016, arXiv:1611.05431) and Wide ResNet
(Zagoruyko and Komodakis, 2016, arXiv:1605.07146) in the form that torchvision gives ResNet-50.

A block is f = relu(x + g(x)); the note leaves out the ReLU, and the projection where the shapes of x and g(x) differ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor
from cnn_tf.layers import PadChannels


class Block(Protocol):
    """(B, H, W, C) -> (B, H/strides, W/strides, its width)."""

    def __call__(self, x: Tensor, filters: int, strides: int, *, name: str) -> Tensor:
        """Adds the layers."""


def basic(x: Tensor, filters: int, strides: int, *, name: str) -> Tensor:
    """Two 3x3 convolutions; figure 5, left. -> (B, H/strides, W/strides, filters)."""
    y = blocks.conv_bn(x, filters, 3, strides, name=f"{name}_1")
    y = blocks.conv_bn(y, filters, 3, activation=None, name=f"{name}_2")
    return _add(_projection(x, y, strides, name=name), y, name=name)


def bottleneck(
    x: Tensor, filters: int, strides: int, *, width: int = 1, groups: int = 1, stride_in_first: bool = False, name: str
) -> Tensor:
    """1x1, 3x3 and 1x1 convolutions; figure 5, right. -> (B, H/strides, W/strides, 4 filters).

    width: how many times as many filters the first two have; groups: of the 3x3 convolution.
    stride_in_first: strides in the 1x1, as the paper (v1) has it; else in the 3x3, which sees every position (v1.5).
    """
    first, second = (strides, 1) if stride_in_first else (1, strides)
    y = blocks.conv_bn(x, filters * width, 1, first, name=f"{name}_1")
    y = blocks.conv_bn(y, filters * width, 3, second, groups=groups, name=f"{name}_2")
    y = blocks.conv_bn(y, filters * 4, 1, activation=None, name=f"{name}_3")
    return _add(_projection(x, y, strides, name=name), y, name=name)


def basic_padded(x: Tensor, filters: int, strides: int, *, name: str) -> Tensor:
    """As `basic`, with shortcuts that have no parameters: every other pixel, zeros for new channels (option A)."""
    y = blocks.conv_bn(x, filters, 3, strides, name=f"{name}_1")
    y = blocks.conv_bn(y, filters, 3, activation=None, name=f"{name}_2")
    if strides > 1:
        x = layers.AveragePooling2D(1, strides, name=f"{name}_shortcut_pick")(x)
    if x.shape != y.shape:
        x = PadChannels(filters, name=f"{name}_shortcut_zeros")(x)
    return _add(x, y, name=name)


def basic_d2l(x: Tensor, filters: int, strides: int, *, name: str) -> Tensor:
    """As `basic` in d2l.ai: convolutions have biases, the projection has no batch normalisation."""
    y = blocks.conv(x, filters, 3, strides, name=f"{name}_1_conv")
    y = blocks.relu(blocks.batch_norm(y, name=f"{name}_1"), name=f"{name}_1")
    y = blocks.batch_norm(blocks.conv(y, filters, 3, name=f"{name}_2_conv"), name=f"{name}_2")
    if x.shape != y.shape:
        x = blocks.conv(x, filters, 1, strides, name=f"{name}_shortcut_conv")
    return _add(x, y, name=name)


def plain(x: Tensor, filters: int, strides: int, *, name: str) -> Tensor:
    """As `basic` without the shortcut: what the paper compares with."""
    x = blocks.conv_bn(x, filters, 3, strides, name=f"{name}_1")
    return blocks.conv_bn(x, filters, 3, name=f"{name}_2")


def stem_imagenet(x: Tensor, *, use_bias: bool = False) -> Tensor:
    """(B, H, W, C) -> (B, H/4, W/4, 64): a 7x7 convolution and a maximum over 3x3, both at strides 2."""
    x = blocks.conv(x, 64, 7, 2, use_bias=use_bias, name="stem_conv")
    x = blocks.relu(blocks.batch_norm(x, name="stem"), name="stem")
    return blocks.max_pool(x, 3, 2, padding=1, name="stem_pool")


def stem_cifar(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H, W, 16)."""
    return blocks.conv_bn(x, 16, 3, name="stem")


class ResNet(NamedTuple):
    """A row of table 1 (or of section 4.2, for CIFAR): its block, how many of them each stage has, and what is before them.

    The first stage has as many filters as the stem gives, each other twice as many as the one before.
    """

    block: Block
    num_blocks: tuple[int, ...]
    stem: Callable[[Tensor], Tensor] = stem_imagenet


_v1 = partial(bottleneck, stride_in_first=True)

# 224x224: stages at 56, 28, 14, 7 with 64, 128, 256, 512 filters. v1.5 unless the name says v1.
RESNETS = {
    "resnet18": ResNet(basic, (2, 2, 2, 2)),
    "resnet34": ResNet(basic, (3, 4, 6, 3)),
    "resnet50": ResNet(bottleneck, (3, 4, 6, 3)),
    "resnet101": ResNet(bottleneck, (3, 4, 23, 3)),
    "resnet152": ResNet(bottleneck, (3, 8, 36, 3)),
    "resnet50_v1": ResNet(_v1, (3, 4, 6, 3)),
    "resnet101_v1": ResNet(_v1, (3, 4, 23, 3)),
    "resnet152_v1": ResNet(_v1, (3, 8, 36, 3)),
    "resnext50": ResNet(partial(bottleneck, width=2, groups=32), (3, 4, 6, 3)),
    "wide_resnet50": ResNet(partial(bottleneck, width=2), (3, 4, 6, 3)),
    "resnet18_d2l": ResNet(basic_d2l, (2, 2, 2, 2), partial(stem_imagenet, use_bias=True)),
}

# 32x32: stages at 32, 16, 8 with 16, 32, 64 filters; 6n + 2 layers.
CIFAR_RESNETS = {
    "resnet20": ResNet(basic_padded, (3, 3, 3), stem_cifar),
    "resnet32": ResNet(basic_padded, (5, 5, 5), stem_cifar),
    "resnet44": ResNet(basic_padded, (7, 7, 7), stem_cifar),
    "resnet56": ResNet(basic_padded, (9, 9, 9), stem_cifar),
    "resnet110": ResNet(basic_padded, (18, 18, 18), stem_cifar),
    "plain20": ResNet(plain, (3, 3, 3), stem_cifar),
    "plain56": ResNet(plain, (9, 9, 9), stem_cifar),
}


def resnet(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `RESNETS` or `CIFAR_RESNETS`."""
    row = (RESNETS | CIFAR_RESNETS)[variant]
    inputs, x = blocks.images(input_shape)
    x = _stages(row.stem(x), row)
    return keras.Model(inputs, blocks.logits(blocks.global_average(x), num_classes), name=variant)


def _stages(x: Tensor, row: ResNet) -> Tensor:
    """Stages of blocks; each but the first halves height and width and doubles the filters in its first block."""
    filters = x.shape[-1]
    for stage, num_blocks in enumerate(row.num_blocks, start=1):
        for block in range(1, num_blocks + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = row.block(x, filters * 2 ** (stage - 1), strides, name=f"stage{stage}_block{block}")
    return x


def _projection(x: Tensor, y: Tensor, strides: int, *, name: str) -> Tensor:
    """The shortcut: x itself, or projected by a 1x1 convolution where its shape differs from `y`'s (option B)."""
    if x.shape == y.shape:
        return x
    return blocks.conv_bn(x, y.shape[-1], 1, strides, activation=None, name=f"{name}_shortcut")


def _add(shortcut: Tensor, y: Tensor, *, name: str) -> Tensor:
    return blocks.relu(layers.Add(name=f"{name}_add")([shortcut, y]), name=name)
