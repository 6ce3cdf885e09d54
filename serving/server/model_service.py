"""`tensorflow.serving.ModelService`: states of versions, and another set of models while the server runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from serving import errors
from serving.server import config
from serving.server.calls import Call, Reply, Unary
from serving.server.manager import Manager

_log = logging.getLogger(__name__)

SERVICE = "tensorflow.serving.ModelService"

Message = TypeVar("Message")
Counter = Callable[[str], int]
"""Name of a metric -> its value; 0 for an unknown one."""


def methods(manager: Manager, metrics_counter: Counter = lambda name: 0) -> list[Unary]:
    """The methods of the service.

    metrics_counter: the metrics whose increase over a reload clients may ask for.
    """

    def get_model_status(request: bytes, call: Call, reply: Reply) -> None:
        reply(_get_model_status(manager, request))

    def handle_reload_config_request(request: bytes, call: Call, reply: Reply) -> None:
        reply(_reload(manager, metrics_counter, request, call))

    return [
        Unary(f"/{SERVICE}/GetModelStatus", get_model_status),
        Unary(f"/{SERVICE}/HandleReloadConfigRequest", handle_reload_config_request, blocking=True),
    ]


def model_status(manager: Manager, name: str, version: int | None) -> get_model_status_pb2.GetModelStatusResponse:
    """The status message of a model. Raises NotFound."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in manager.statuses(name, version):
        entry = response.model_version_status.add(version=status.version, state=int(status.state))
        entry.status.error_code = status.error.code.value[0] if status.error else 0
        entry.status.error_message = status.error.message if status.error else ""
    return response


def _get_model_status(manager: Manager, data: bytes) -> bytes:
    """Tells the state of one version, or of all; a version label is ignored."""
    request = _parsed(get_model_status_pb2.GetModelStatusRequest.FromString, data)
    if not request.HasField("model_spec"):
        raise errors.InvalidArgument("Missing ModelSpec")
    spec = request.model_spec
    version = spec.version.value if spec.HasField("version") else None
    return bytes(model_status(manager, spec.name, version).SerializeToString())


def _reload(manager: Manager, counter: Counter, data: bytes, call: Call) -> bytes:
    """Replaces the list of models; the status of the call tells the outcome, and the response tells it too."""
    request = _parsed(model_management_pb2.ReloadConfigRequest.FromString, data)
    before = {name: counter(name) for name in request.metric_names}
    try:
        if request.config.WhichOneof("config") != "model_config_list":
            raise errors.InvalidArgument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        manager.reload(config.from_proto(request.config, manager.configs), timeout=call.seconds_left())
    except errors.ServingError as error:
        _log.error("ReloadConfig failed: %s", error.message)
        raise
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    for name in request.metric_names:
        response.metric.add(name=name, int64_value_increase=counter(name) - before[name])
    return bytes(response.SerializeToString())


def _parsed(parse: Callable[[bytes], Message], data: bytes) -> Message:
    try:
        return parse(data)
    except DecodeError as error:
        raise errors.InvalidArgument(f"The request cannot be parsed: {error}") from error
