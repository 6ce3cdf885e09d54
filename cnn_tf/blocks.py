"""What several papers share: functions (B, H, W, C) -> (B, H', W', C') that add layers, whose names begin with `name`.

Names tell where a layer stands: STAGE_..._KIND, with the stages stem, stage1, stage2, ..., head; the last layer is "logits".

Padding is explicit and the same on both sides, as in the papers and in torch, so that published weights fit. Keras's "same"
puts what is odd at the bottom and the right, which at strides above 1 is another network (it is used where both agree).
"""

from __future__ import annotations

from typing import TypeAlias

import keras
from keras import layers

from cnn_tf import options, shapes
from cnn_tf.errors import PictureVanishes
from cnn_tf.layers import AdaptiveAveragePooling2D, GroupedConv2D

Tensor: TypeAlias = keras.KerasTensor


def images(input_shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The input of every network: (the input itself, values scaled as the options say, 0..1 at first), both (B, H, W, C).

    It takes uint8 or float pictures with values 0..255; scaling is a layer, so a model and its preprocessing cannot part.
    """
    inputs = keras.Input(input_shape, name="images")
    factor, means, deviations = options.SCALINGS[options.current().scaling]
    if len(set(means)) == len(set(deviations)) == 1:
        scale: float | list[float] = factor / deviations[0]
        offset: float | list[float] = -means[0] / deviations[0]
    else:
        channels = input_shape[-1]
        if channels != len(means):  # no colours: their average serves all channels
            means, deviations = ((sum(values) / len(values),) * channels for values in (means, deviations))
        scale = [factor / deviation for deviation in deviations]
        offset = [-mean / deviation for mean, deviation in zip(means, deviations, strict=True)]
    return inputs, layers.Rescaling(scale, offset, name="scale")(inputs)


def conv(
    x: Tensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    padding: int | None = None,
    groups: int = 1,
    use_bias: bool = True,
    name: str,
) -> Tensor:
    """A convolution called `name`. padding: rows and columns on each side; None keeps the size at strides 1.

    groups: how many parts the channels fall into, each convolved by itself.

    Raises PictureVanishes.
    """
    x, keras_padding = _pad(x, kernel_size, strides, (kernel_size - 1) // 2 if padding is None else padding, name)
    kind = layers.Conv2D if groups == 1 else GroupedConv2D
    return kind(
        filters,
        kernel_size,
        strides,
        padding=keras_padding,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=options.kernel_initializer(),
        name=name,
    )(x)


def depthwise_conv(x: Tensor, kernel_size: int, strides: int = 1, *, use_bias: bool = True, name: str) -> Tensor:
    """A convolution of each channel by itself; the size is kept at strides 1. Raises PictureVanishes."""
    x, keras_padding = _pad(x, kernel_size, strides, (kernel_size - 1) // 2, name)
    return layers.DepthwiseConv2D(
        kernel_size,
        strides,
        padding=keras_padding,
        use_bias=use_bias,
        depthwise_initializer=options.kernel_initializer(),
        name=name,
    )(x)


def conv_relu(
    x: Tensor, filters: int, kernel_size: int, strides: int = 1, *, padding: int | None = None, name: str
) -> Tensor:
    """Convolution, ReLU."""
    return relu(conv(x, filters, kernel_size, strides, padding=padding, name=f"{name}_conv"), name=name)


def conv_bn(
    x: Tensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    groups: int = 1,
    epsilon: float = 1e-5,
    activation: str | None = "relu",
    name: str,
) -> Tensor:
    """Convolution without bias, batch normalisation, activation."""
    x = conv(x, filters, kernel_size, strides, groups=groups, use_bias=False, name=f"{name}_conv")
    x = batch_norm(x, epsilon=epsilon, name=name)
    return x if activation is None else layers.Activation(activation, name=f"{name}_{activation}")(x)


def batch_norm(x: Tensor, *, momentum: float = 0.9, epsilon: float = 1e-5, name: str) -> Tensor:
    """Batch normalisation with what the paper says of momentum and epsilon, unless the options say otherwise."""
    chosen = options.current()
    return layers.BatchNormalization(
        momentum=momentum if chosen.norm_momentum is None else chosen.norm_momentum,
        epsilon=epsilon if chosen.norm_epsilon is None else chosen.norm_epsilon,
        name=f"{name}_bn",
    )(x)


def relu(x: Tensor, *, name: str) -> Tensor:
    """The positive part."""
    return layers.Activation("relu", name=f"{name}_relu")(x)


def max_pool(x: Tensor, size: int, strides: int = 2, *, padding: int = 0, ceil: bool = False, name: str) -> Tensor:
    """Maximum over size x size windows. x must not be negative where it is padded: the padding is zeros.

    ceil: a window may hang over the end, as Caffe and torch's ceil_mode have it.

    Raises PictureVanishes.
    """
    x, keras_padding = _pad(x, size, strides, (padding, padding + strides - 1) if ceil else padding, name)
    return layers.MaxPooling2D(size, strides, padding=keras_padding, name=name)(x)


def average_pool(x: Tensor, size: int, strides: int = 2, *, name: str) -> Tensor:
    """Mean over size x size windows. Raises PictureVanishes."""
    x, _ = _pad(x, size, strides, 0, name)
    return layers.AveragePooling2D(size, strides, name=name)(x)


def adaptive_average_pool(x: Tensor, size: int, *, name: str) -> Tensor:
    """Mean over windows such that size x size of them come out; nothing to do where that is the size already."""
    return x if x.shape[1:3] == (size, size) else AdaptiveAveragePooling2D(size, name=name)(x)


def dense(x: Tensor, units: int, *, name: str) -> Tensor:
    """A fully connected layer for ReLU networks, called `name`."""
    return layers.Dense(units, kernel_initializer=options.kernel_initializer(), name=name)(x)


def dropout(x: Tensor, rate: float, *, name: str) -> Tensor:
    """Dropout with what the paper says, unless the options say otherwise."""
    chosen = options.current().dropout
    return layers.Dropout(rate if chosen is None else chosen, name=name)(x)


def global_average(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C): the head's global average pooling, after which the size of the picture does not matter."""
    return layers.GlobalAveragePooling2D(name="head_pool")(x)


def logits(x: Tensor, num_classes: int, *, name: str = "logits") -> Tensor:
    """(B, C) -> (B, num_classes), never in half precision, which is too coarse for a loss."""
    return layers.Dense(num_classes, dtype=keras.config.dtype_policy().variable_dtype, name=name)(x)


def _pad(x: Tensor, size: int, strides: int, padding: int | tuple[int, int], name: str) -> tuple[Tensor, str]:
    """X with rows and columns of zeros on each side, or (before, after), and Keras's padding for a window of `size`."""
    before, after = (padding, padding) if isinstance(padding, int) else padding
    for side in x.shape[1:3]:
        _require_room(side, size, before + after, name)
    if strides == 1 and before == after and before + after == size - 1:
        return x, "same"
    if before == after == 0:
        return x, "valid"
    return layers.ZeroPadding2D(((before, after), (before, after)), name=f"{name}_pad")(x), "valid"


def _require_room(side: int, size: int, padding: int, name: str) -> None:
    try:
        shapes.output_size(side, size, padding=padding)
    except ValueError as error:
        raise PictureVanishes(f"The picture vanishes in {name}: {error}") from None
