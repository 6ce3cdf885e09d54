"""Every network by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import keras

from cnn_tf import lenet

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
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Unknown model {name!r}. Expected one of: {', '.join(sorted(MODELS))}.{hint}")
    return MODELS[name](input_shape=input_shape, num_classes=num_classes)
