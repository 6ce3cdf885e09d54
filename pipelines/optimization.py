"""The forms in which a network can be exported, smaller or faster than it was trained; what one is worth, `worth` measures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.errors import UsageError
from pipelines.folding import fold_batch_norm

Array = npt.NDArray[Any]
Parts = tuple[Array, ...]
"""What of a kernel is written down."""


class Storage(NamedTuple):
    """How kernels are written down, and read in the graph."""

    write: Callable[[Array, tuple[int, ...]], Parts]
    """(kernel, float32; the axes that one output channel spans) -> its parts."""
    read: Callable[..., tf.Tensor]
    """Parts, as tensors -> the kernel, float32."""


class Variant(NamedTuple):
    """A row of `VARIANTS`."""

    description: str
    storage: Storage | None
    """Of a network with batch normalization folded. None: the trained network as it is."""
    is_exact: bool = False
    """Whether an export must answer as the trained network does; else as the rounded one, and its accuracy must be known."""
    is_frozen: bool = False
    """Whether weights are constants of the graph instead of variables."""


def _quantize(kernel: Array, axes: tuple[int, ...]) -> Parts:
    """Whole numbers from -127 to 127, and what one is worth, of each output channel."""
    levels, per_unit = keras.quantizers.abs_max_quantize(kernel, axis=axes)
    return np.asarray(levels), np.asarray(1 / per_unit)


EXACT = Storage(lambda kernel, axes: (kernel,), lambda kernel: kernel)
BFLOAT16 = Storage(
    lambda kernel, axes: (tf.cast(kernel, tf.bfloat16).numpy(),), lambda kernel: tf.cast(kernel, tf.float32)
)
INT8 = Storage(_quantize, lambda levels, step: tf.cast(levels, tf.float32) * step)

PLAIN = "float32"
_FOLDED = "batch normalization folded into the layers before"
_READ = "the graph turns them back into float32 in each call"

VARIANTS = {
    PLAIN: Variant("as trained", None, is_exact=True),
    "folded": Variant(_FOLDED, EXACT, is_exact=True),
    # TensorFlow copies constants for each signature: ResNet-18 takes seven times the memory.
    "frozen": Variant(f"{_FOLDED}, weights constants of the graph", EXACT, is_exact=True, is_frozen=True),
    "bfloat16": Variant(f"{_FOLDED}, kernels stored in bfloat16; {_READ}", BFLOAT16),
    "int8": Variant(f"{_FOLDED}, kernels stored in int8 with a scale for each output channel; {_READ}", INT8),
}


class Optimized(NamedTuple):
    """A network in a form to export."""

    model: keras.Model
    """In float32, with the values that stored kernels have when they are read."""
    stored: Callable[[], AbstractContextManager[Any]]
    """A context; functions traced in it read weights as they are stored."""
    variables: list[tf.Variable]
    """What those functions read; empty if weights are constants of the graph."""
    weight_bytes: int
    """As they are stored."""
    folded_layers: int | None = None
    """How many batch normalizations are gone; None: all were to stay."""


def optimize(model: keras.Model, name: str) -> Optimized:
    """`model`, which stays as it is, in the form of a row of `VARIANTS`. Raises UsageError for another name."""
    if name not in VARIANTS:
        raise UsageError(f"A model is exported as one of {', '.join(VARIANTS)}. Received: {name!r}.")
    variant = VARIANTS[name]
    if variant.storage is None:
        variables = [variable.value for variable in model.variables]
        return Optimized(model, nullcontext, variables, sum(variable.numpy().nbytes for variable in variables))
    folded = fold_batch_norm(model)
    written: dict[int, Written] = {id(weight): Written((weight.numpy(),), EXACT.read) for weight in folded.variables}
    for layer in folded.layers:
        if (kernel := getattr(layer, "kernel", None)) is not None:
            parts = variant.storage.write(kernel.numpy(), _axes_of_a_channel(layer))
            written[id(kernel)] = Written(parts, variant.storage.read)
            kernel.assign(written[id(kernel)].value())
    weight_bytes = sum(part.nbytes for weight in written.values() for part in weight.parts)
    if not variant.is_frozen:
        written = {key: weight.as_variables() for key, weight in written.items()}
    variables = [part for weight in written.values() for part in weight.parts if isinstance(part, tf.Variable)]
    return Optimized(folded, lambda: _Stored(written), variables, weight_bytes, len(model.layers) - len(folded.layers))


class Written(NamedTuple):
    """A weight as it is stored."""

    parts: tuple[Array | tf.Variable, ...]
    read: Callable[..., tf.Tensor]

    def value(self) -> tf.Tensor:
        """Float32; arrays are constants of the graph that is being traced."""
        return self.read(*map(tf.convert_to_tensor, self.parts))

    def as_variables(self) -> Written:
        """The same."""
        return Written(tuple(tf.Variable(part, trainable=False) for part in self.parts), self.read)


def _axes_of_a_channel(layer: keras.Layer) -> tuple[int, ...]:
    """Axes of the layer's kernel that one of its output channels spans."""
    outputs = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else 1
    return tuple(range(len(layer.kernel.shape) - outputs))


class _Stored(keras.StatelessScope):
    """In it the value of a Keras variable with an id in `written` is read from there, in the graph that is being traced."""

    def __init__(self, written: dict[int, Written]) -> None:
        super().__init__()
        self._written = written

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        """Asked for by Keras."""
        weight = self._written.get(id(variable))
        return None if weight is None else weight.value()
