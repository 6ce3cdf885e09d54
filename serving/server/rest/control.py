"""Answers about models: their versions' states, their signatures, and whether all of them are ready."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from serving import errors
from serving.server.calls import Call
from serving.server.manager import State, VersionStatus


class Servable(Protocol):
    """What is asked of a loaded version."""

    @property
    def signatures(self) -> Any:
        """`SignatureDef` by name."""

    def submit(self, inputs: Any, signature_name: str, output_filter: Sequence[str], call: Call, done: Any) -> None:
        """Runs a signature; `done` gets the outputs by name, or a ServingError, once and from any thread."""


class Lent(Protocol):
    """A loaded version that stays loaded until it is given back."""

    name: str
    version: int

    @property
    def servable(self) -> Any:
        """A `Servable`."""

    def release(self) -> None:
        """Gives it back; more than once is once."""


class Manager(Protocol):
    """What is asked of the models."""

    @property
    def names(self) -> Sequence[str]:
        """Of all configured models."""

    def borrow(self, name: str, version: int | None = None, label: str | None = None) -> Lent:
        """The version asked for. Raises InvalidArgument, NotFound."""

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Of all versions ever seen, the highest first, or of one. Raises NotFound."""


def status(manager: Manager, name: str, version: int | None) -> bytes:
    """The states of a model's versions. Raises NotFound."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for entry in manager.statuses(name, version):
        told = response.model_version_status.add(version=entry.version, state=int(entry.state))
        told.status.error_code = entry.error.code.value[0] if entry.error else 0
        told.status.error_message = entry.error.message if entry.error else ""
    return json_format.MessageToJson(response, indent=1, always_print_fields_with_no_presence=True).encode()


def metadata(lent: Lent) -> bytes:
    """All signatures of a version."""
    spec = model_pb2.ModelSpec(name=lent.name)
    spec.version.value = lent.version
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=lent.servable.signatures)
    text = f'{{\n"model_spec":{_json(spec)},\n"metadata": {{"signature_def": {_json(signatures)}}}\n}}\n'
    return text.encode()


def _json(message: Any) -> str:
    text: str = json_format.MessageToJson(
        message, indent=1, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return text


def listed(manager: Manager) -> bytes:
    """All models with their versions' states, the highest first."""
    models = [
        {
            "name": name,
            "versions": [
                {"version": str(entry.version), "state": State(entry.state).name} for entry in _seen(manager, name)
            ],
        }
        for name in manager.names
    ]
    return _document({"models": models})


def readiness(manager: Manager) -> tuple[bool, bytes]:
    """Whether each model has a version to answer with, and a body that names those that have none."""
    absent = [name for name in manager.names if all(e.state != State.AVAILABLE for e in _seen(manager, name))]
    return not absent, _document({"ready": not absent, "not_ready": absent})


def liveness() -> bytes:
    """The body of an answer that says no more than that the server answers."""
    return _document({"live": True})


def _seen(manager: Manager, name: str) -> list[VersionStatus]:
    try:
        return manager.statuses(name)
    except errors.NotFound:  # its folder holds no version yet
        return []


def _document(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
