"""What a model takes and gives, as its server tells it, and the states of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from serving.wire import messages_pb2 as pb
from serving.wire.tensors import BY_NUMBER


class TensorSpec(NamedTuple):
    """Data type (NumPy's name, or "string") and shape of an input or output; None is any size, usually the batch."""

    dtype: str
    shape: tuple[int | None, ...] | None


class Signature(NamedTuple):
    """What a model takes and gives under one signature name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


Signatures = dict[str, Signature]


class ModelStatus(NamedTuple):
    """State of one version: START, LOADING, AVAILABLE, UNLOADING or END; `error` is "" unless loading it failed."""

    version: int
    state: str
    error: str


def read_signatures(response: pb.GetModelMetadataResponse) -> Signatures:
    """By name."""
    found = pb.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    return {name: Signature(_specs(item.inputs), _specs(item.outputs)) for name, item in found.items()}


def read_statuses(response: pb.GetModelStatusResponse) -> list[ModelStatus]:
    """In the server's order."""
    return [
        ModelStatus(entry.version, pb.ModelVersionStatus.State.Name(entry.state), entry.status.error_message)
        for entry in response.model_version_status
    ]


def _specs(infos: Mapping[str, pb.TensorInfo]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(_dtype(info.dtype), _shape(info.tensor_shape)) for name, info in sorted(infos.items())}


def _dtype(number: int) -> str:
    if number == pb.DT_STRING:
        return "string"
    return BY_NUMBER[number].numpy.name if number in BY_NUMBER else f"type {number}"


def _shape(shape: pb.TensorShapeProto) -> tuple[int | None, ...] | None:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
