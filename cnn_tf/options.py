"""What may be changed in every network without changing what it is.

`build` puts the options in force while a network is built, and blocks.py asks for them where they matter, so that no
architecture hands them on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Any

from cnn_tf import naming
from cnn_tf.errors import NetworkError

# scaling -> (factor, means of the colours, standard deviations): a value x, 0..255, becomes (x * factor - mean) / deviation.
SCALINGS: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    "unit": (1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "imagenet": (
        1 / 255,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),  # torchvision, timm, part of keras.applications
    "symmetric": (1 / 127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "caffe": (1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),  # the rest of keras.applications
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Raises NetworkError for a value out of its range. None: what the paper says."""

    dropout: float | None = None
    """Share of values that every dropout layer of the network sets to zero in training, 0 up to below 1."""
    norm_momentum: float | None = None
    """Share of the old value that the moving averages of batch normalisation keep at a step, 0..1 (torch's is 1 minus this)."""
    norm_epsilon: float | None = None
    """What batch normalisation adds to the variance, above 0."""
    scaling: str = "unit"
    """What is done to values 0..255 first. unit: to 0..1; imagenet: then less the mean, by the standard deviation of ImageNet's
    colours, as torchvision's weights want it; symmetric: to -1..1; caffe: only less ImageNet's mean, as keras.applications'
    VGG and ResNet weights want it."""
    auxiliary_heads: bool = False
    """Add the classifiers that help GoogLeNet to train; the model then has three outputs, the first of them the logits."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        _require("dropout", self.dropout, lambda value: 0 <= value < 1, "at least 0 and below 1")
        _require("norm_momentum", self.norm_momentum, lambda value: 0 <= value <= 1, "from 0 to 1")
        _require("norm_epsilon", self.norm_epsilon, lambda value: value > 0, "above 0")
        if self.scaling not in SCALINGS:
            raise NetworkError(naming.unknown("scaling", str(self.scaling), SCALINGS))


def _require(name: str, value: float | None, holds: Callable[[float], bool], expected: str) -> None:
    if value is not None and not (isinstance(value, Real) and holds(value)):
        raise NetworkError(f"{name} must be a number {expected}. Received: {value!r}.")


_in_force: ContextVar[Options | None] = ContextVar("options", default=None)


def current() -> Options:
    """The options in force."""
    return _in_force.get() or Options()


_zeros: ContextVar[bool] = ContextVar("zeros", default=False)


def kernel_initializer() -> str:
    """How the kernels of ReLU networks begin: such that the variance stays (He et al. 2015, arXiv:1502.01852)."""
    return "zeros" if _zeros.get() else "he_uniform"


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks built inside begin with zeros, which is quick: they are for looking at, not for use."""
    token = _zeros.set(True)
    try:
        yield
    finally:
        _zeros.reset(token)


@contextmanager
def using(**values: Any) -> Iterator[Options]:
    """Puts Options(**values) in force. Raises NetworkError for a name that is not known or a value out of its range."""
    known = [field.name for field in dataclasses.fields(Options)]
    for name in values:
        if name not in known:
            raise NetworkError(naming.unknown("option", name, known))
    options = Options(**values)
    token = _in_force.set(options)
    try:
        yield options
    finally:
        _in_force.reset(token)
