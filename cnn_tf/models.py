"""Every network by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import keras

from cnn_tf import lenet, naming

Builder = Callable[..., keras.Model]

# A paper's file has a table of variants and one function that builds them; its line here makes them known.
MODELS: Mapping[str, Builder] = MappingProxyType(
    {
        **{variant: partial(lenet.lenet, variant) for variant in lenet.VARIANTS},
    }
)


def build(name: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """The network `name`: (B, H, W, C) pictures with values 0..255, `input_shape` = (H, W, C) -> (B, num_classes) logits.

    Raises ValueError for an unknown name, or for pictures that are too small for the network.
    """
    if name not in MODELS:
        raise ValueError(naming.unknown("model", name, MODELS))
    return MODELS[name](input_shape=input_shape, num_classes=num_classes)
