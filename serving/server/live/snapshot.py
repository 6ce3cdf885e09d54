"""What the live view is told of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.server.metrics.recent import Rates


@dataclass(frozen=True)
class Version:
    """One version of a model."""

    number: int
    state: str
    """As in GetModelStatus: START, LOADING, AVAILABLE, UNLOADING or END."""
    failed: bool = False
    """Whether END came by an error."""
    signatures: Mapping[str, str] = field(default_factory=dict)
    """What each signature takes, as `describe_inputs` says it."""
    summary: str = ""
    """How the engine runs it."""


@dataclass(frozen=True)
class Model:
    """A model with its versions, highest first, and how it does."""

    name: str
    versions: Sequence[Version]
    rates: Rates = field(default_factory=Rates)
    queue: int = 0
    """Requests that wait."""


@dataclass(frozen=True)
class Snapshot:
    """A server at a moment."""

    models: Sequence[Model]
    total: Rates
    resident_bytes: int


@dataclass(frozen=True)
class Addresses:
    """Where a server answers; None: it does not."""

    grpc: str | None
    """host:port"""
    rest: str | None
    """http://host:port"""


def describe_inputs(signature: Any) -> str:
    """A SignatureDef's inputs: "images: uint8 [?, 28, 28, 1]"; several are separated by semicolons."""
    return "; ".join(f"{name}: {_tensor(info)}" for name, info in sorted(signature.inputs.items()))


def _tensor(info: Any) -> str:
    types = info.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number
    dtype: str = types[info.dtype].name.removeprefix("DT_").lower()
    if info.tensor_shape.unknown_rank:
        return dtype
    sizes = ("?" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim)
    return f"{dtype} [{', '.join(sizes)}]"
