"""Every network by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from numbers import Integral
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf

from cnn_tf import (
    alexnet,
    convnext,
    densenet,
    googlenet,
    lenet,
    mobilenet_v2,
    mobilenet_v3,
    naming,
    nin,
    options,
    resnet,
    resnet_v2,
    vgg,
)
from cnn_tf.description import smallest_size
from cnn_tf.errors import NetworkError, PictureVanishes

Shape = tuple[int, int, int]
Builder = partial[keras.Model]


Default = tuple[Shape, int]

# What networks take and give by default: the shape of a picture, and the number of classes.
IMAGENET: Default = ((224, 224, 3), 1000)
AT_227: Default = ((227, 227, 3), 1000)
CIFAR: Default = ((32, 32, 3), 10)
GREY_28: Default = ((28, 28, 1), 10)
GREY_96: Default = ((96, 96, 1), 10)
GREY_224: Default = ((224, 224, 1), 10)


def _variants(
    architecture: Callable[..., keras.Model], names: Iterable[str], default: Default, **other: Default
) -> dict[str, Builder]:
    """A builder for each name, which knows its default; `other` are the defaults of single variants."""
    return {
        name: partial(architecture, name, input_shape=input_shape, num_classes=num_classes)
        for name in names
        for input_shape, num_classes in [other.get(name, default)]
    }


# A paper's file has a table of variants and one function that builds them; its line here makes them known.
MODELS: Mapping[str, Builder] = MappingProxyType(
    {
        **_variants(lenet.lenet, lenet.VARIANTS, GREY_28, lenet5_paper=((32, 32, 1), 10)),
        **_variants(
            alexnet.alexnet,
            alexnet.ALEXNETS,
            IMAGENET,
            alexnet_paper=AT_227,
            alexnet_one_tower=AT_227,
            alexnet_d2l=GREY_224,
        ),
        **_variants(vgg.vgg, vgg.VGGS, IMAGENET, vgg11_d2l=GREY_224),
        **_variants(nin.nin, nin.NINS, IMAGENET, nin_cifar=CIFAR),
        **_variants(googlenet.googlenet, googlenet.GOOGLENETS, IMAGENET, googlenet_d2l=GREY_96),
        **_variants(resnet.resnet, resnet.RESNETS, IMAGENET, resnet18_d2l=GREY_96),
        **_variants(resnet.resnet, resnet.CIFAR_RESNETS, CIFAR),
        **_variants(resnet_v2.resnet_v2, resnet_v2.RESNETS_V2, IMAGENET),
        **_variants(resnet_v2.resnet_v2, resnet_v2.WIDE_RESNETS, CIFAR),
        **_variants(densenet.densenet, densenet.DENSENETS, IMAGENET, densenet_d2l=GREY_96),
        **_variants(mobilenet_v2.mobilenet_v2, mobilenet_v2.MOBILENETS_V2, IMAGENET),
        **_variants(mobilenet_v3.mobilenet_v3, mobilenet_v3.MOBILENETS_V3, IMAGENET),
        **_variants(convnext.convnext, convnext.CONVNEXTS, IMAGENET),
    }
)


def build(name: str, input_shape: Shape | None = None, num_classes: int | None = None, **changes: Any) -> keras.Model:
    """The network `name`: (B, H, W, C) pictures with values 0..255, `input_shape` = (H, W, C) -> (B, num_classes) logits.

    None: the paper's shape and number of classes. changes: cnn_tf.options.Options, such as dropout=0.2.
    Weights are random, from keras.utils.set_random_seed; the global dtype policy holds, but logits are never half precision.

    Raises NetworkError, a ValueError, for an unknown name, a wrong option, or pictures that are too small for the network.
    """
    if name not in MODELS:
        raise NetworkError(naming.unknown("model", name, MODELS))
    defaults = MODELS[name].keywords
    input_shape = _require_shape(defaults["input_shape"] if input_shape is None else input_shape)
    num_classes = defaults["num_classes"] if num_classes is None else num_classes
    if not _is_count(num_classes):
        raise NetworkError(f"num_classes must be an integer from 1 on. Received: {num_classes!r}.")
    with options.using(**changes) as chosen:
        model = _build(name, input_shape, num_classes)
    if chosen.auxiliary_heads and len(model.outputs) == 1:
        raise NetworkError(f"{name} has no auxiliary heads. Leave out auxiliary_heads, or choose a GoogLeNet.")
    return model


def _require_shape(shape: Shape) -> Shape:
    if not isinstance(shape, Sequence) or len(shape) != 3 or not all(map(_is_count, shape)):
        raise NetworkError(
            f"input_shape must be (height, width, channels), such as (224, 224, 3). Received: {shape!r}."
        )
    height, width, channels = map(int, shape)
    return height, width, channels


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _build(name: str, input_shape: Shape, num_classes: int) -> keras.Model:
    try:
        return MODELS[name](input_shape=input_shape, num_classes=num_classes)
    except tf.errors.ResourceExhaustedError:
        shape = naming.shape_text(input_shape)
        raise NetworkError(f"The weights of {name} for pictures of {shape} do not fit into memory.") from None
    except PictureVanishes as vanishes:
        with options.without_weights():
            smallest = smallest_size(MODELS[name]())
        raise PictureVanishes(
            f"{name} needs pictures of at least {smallest}x{smallest}. Received: {input_shape[0]}x{input_shape[1]}. {vanishes}"
        ) from None
