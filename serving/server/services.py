"""gRPC: protobuf in, manager and servable in the middle, protobuf out."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import errors
from serving.server.manager import Lent, Manager
from serving.server.servable import DEFAULT_SIGNATURE
from serving.wire import CHANNEL_OPTIONS, fill, to_array

_log = logging.getLogger(__name__)

# TensorFlow Serving cuts longer error texts here.
MAX_MESSAGE_LENGTH = 1024
# Within this time what is on its way has reached its handler, or its caller waits for an answer.
DOOR_SECONDS = 0.25

Request = TypeVar("Request")
Response = TypeVar("Response")


def _answers(
    method: Callable[[Any, Request], Response],
) -> Callable[[Any, Request, grpc.ServicerContext], Response]:
    """Makes a gRPC method of `method`: what it raises becomes the status of the call."""

    @functools.wraps(method)
    def handler(self: Any, request: Request, context: grpc.ServicerContext) -> Response:
        try:
            return method(self, request)
        except errors.ServingError as error:
            context.abort(error.code, _cut(error.message))
        except Exception as error:
            _log.exception("%s failed", method.__name__)
            context.abort(grpc.StatusCode.INTERNAL, _cut(f"{type(error).__name__}: {error}"))
        raise AssertionError("abort always raises")  # for the type checker

    return handler


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE_LENGTH else message[:MAX_MESSAGE_LENGTH] + "...TRUNCATED"


@contextmanager
def _lent(manager: Manager, request: Any) -> Iterator[Lent]:
    """The servable that a request's ModelSpec names."""
    if not request.HasField("model_spec"):
        raise errors.InvalidArgument("Missing ModelSpec")
    spec = request.model_spec
    version = spec.version.value if spec.HasField("version") else None
    label = spec.version_label if spec.HasField("version_label") else None
    with manager.lend(spec.name, version, label) as lent:
        yield lent


def _effective_spec(lent: Lent, signature_name: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=lent.name, signature_name=signature_name)
    spec.version.value = lent.version
    return spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """`tensorflow.serving.PredictionService`."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @_answers
    def Predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs one signature on the request's tensors."""
        with _lent(self._manager, request) as lent:
            signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            lent.servable.signature(signature_name)  # an unknown signature is told before a broken tensor
            inputs = {name: _to_array(name, tensor) for name, tensor in request.inputs.items()}
            outputs = lent.servable.run(inputs, signature_name, request.output_filter)
            response = predict_pb2.PredictResponse(model_spec=_effective_spec(lent, signature_name))
        for name, array in outputs.items():
            fill(response.outputs[name], array, typed=True)
        return response

    @_answers
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Tells all signatures of a model."""
        if not request.HasField("model_spec"):
            raise errors.InvalidArgument("Missing ModelSpec")
        if not request.metadata_field:
            raise errors.InvalidArgument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise errors.InvalidArgument(f"Metadata field {field} is not supported")
        with _lent(self._manager, request) as lent:
            response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_effective_spec(lent))
            response.metadata["signature_def"].Pack(signature_def_map(lent))
        return response


def signature_def_map(lent: Lent) -> get_model_metadata_pb2.SignatureDefMap:
    """All signatures of a servable as the metadata message."""
    return get_model_metadata_pb2.SignatureDefMap(signature_def=lent.servable.signatures)


def _to_array(name: str, tensor: Any) -> Any:
    try:
        return to_array(tensor)
    except errors.InvalidArgument as error:
        raise errors.InvalidArgument(f"tensor parsing error: {name}. {error.message}") from error


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """`tensorflow.serving.ModelService`."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @_answers
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Tells the state of one version, or of all that were ever seen; a version label is ignored."""
        if not request.HasField("model_spec"):
            raise errors.InvalidArgument("Missing ModelSpec")
        spec = request.model_spec
        return model_status(self._manager, spec.name, spec.version.value if spec.HasField("version") else None)


def model_status(manager: Manager, name: str, version: int | None) -> get_model_status_pb2.GetModelStatusResponse:
    """The status message of a model. Raises NotFound."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in manager.statuses(name, version):
        entry = response.model_version_status.add(version=status.version, state=int(status.state))
        entry.status.error_code = status.error.code.value[0] if status.error else 0
        entry.status.error_message = status.error.message if status.error else ""
    return response


class _Door(grpc.ServerInterceptor):
    """Holds new requests back while the server begins to stop, and then turns them away.

    What has reached gRPC when it is told to stop, but no handler yet, it would drop with CANCELLED, which no client may
    retry. So first every request gets a handler that waits; once the stop has begun, they all answer UNAVAILABLE.
    """

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._turn_away = grpc.unary_unary_rpc_method_handler(self._refuse)

    def close(self) -> None:
        """From now on new requests wait."""
        self._closing.set()

    def turn_away(self) -> None:
        """Those that wait are refused."""
        self._closed.set()

    def intercept_service(self, continuation: Callable[[Any], Any], details: grpc.HandlerCallDetails) -> Any:
        """Chooses the handler of a request; gRPC calls it for each."""
        if self._closing.is_set() and details.method.startswith("/tensorflow.serving."):
            return self._turn_away
        return continuation(details)

    def _refuse(self, request: bytes, context: grpc.ServicerContext) -> None:
        self._closed.wait()
        context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping")


class GrpcServer:
    """The gRPC port with all services on it."""

    def __init__(self, manager: Manager, address: str, *, threads: int) -> None:
        """Binds `address` ("host:port"; port 0: a free one) without answering yet. Raises Unavailable if it is taken."""
        # Without so_reuseport=0 a second server on the same port would start, and get half of the requests.
        options = (*CHANNEL_OPTIONS, ("grpc.so_reuseport", 0))
        self._door = _Door()
        pool = futures.ThreadPoolExecutor(threads, "grpc")
        self._server = grpc.server(pool, interceptors=[self._door], options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(manager), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise errors.Unavailable(
                f"Cannot listen on {address} for gRPC: the port is taken or not allowed."
            ) from error

    def start(self) -> None:
        """Answers from now on."""
        for service in ("", "ModelService", "PredictionService"):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Tells NOT_SERVING, takes no new requests, and waits for those under way, up to `grace_seconds`."""
        self._health.enter_graceful_shutdown()
        self._door.close()
        threading.Event().wait(DOOR_SECONDS)
        stopped = self._server.stop(grace_seconds)
        self._door.turn_away()
        stopped.wait()
