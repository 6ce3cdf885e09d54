"""gRPC's health service: whether the server takes requests, asked once (Check) or followed (Watch)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from serving import errors
from serving.server.calls import Call, Incoming, Outgoing, Reply, Streaming, Unary

SERVICE = "/grpc.health.v1.Health/"
# Under these names TensorFlow Serving tells its health; "" is the server as a whole.
NAMES = ("", "ModelService", "PredictionService")

Status: TypeAlias = int
"""A HealthCheckResponse.ServingStatus."""


class Health:
    """What the server says of itself; NOT_SERVING until told otherwise."""

    def __init__(self) -> None:
        self._status: Status = int(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._watchers: set[_Watcher] = set()
        self._lock = threading.Lock()

    def methods(self) -> list[Unary | Streaming]:
        """All of the service's methods."""
        return [Unary(SERVICE + "Check", self._check), Streaming(SERVICE + "Watch", self._open)]

    def set_serving(self, serving: bool) -> None:
        """Tells everyone who watches."""
        values = health_pb2.HealthCheckResponse
        with self._lock:
            self._status = int(values.SERVING if serving else values.NOT_SERVING)
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.tell()

    def status(self, service: str) -> Status:
        """Of a service by name; SERVICE_UNKNOWN for another."""
        return self._status if service in NAMES else int(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)

    def _check(self, data: bytes, call: Call, reply: Reply) -> None:
        status = self.status(_service(data))
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            raise errors.NotFound("unknown service")
        reply(_response(status))

    def _open(self, call: Call, stream: Outgoing) -> Incoming:
        watcher = _Watcher(self.status, stream)
        with self._lock:
            self._watchers.add(watcher)
        call.on_cancel(lambda: self._forget(watcher))
        return watcher

    def _forget(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)


class _Watcher:
    """One who watches a service; gets its status at once and whenever it changes."""

    def __init__(self, status: Callable[[str], Status], stream: Outgoing) -> None:
        self._find = status
        self._stream = stream
        self._service: str | None = None
        self._told: Status | None = None

    def received(self, message: bytes) -> None:
        self._service = _service(message)
        self.tell()

    def half_closed(self) -> None:
        """Watching needs nothing more from the client."""

    def tell(self) -> None:
        """Sends the status if it is news."""
        if self._service is None:
            return
        status = self._find(self._service)
        if status != self._told:
            self._told = status
            self._stream.send(_response(status))


def _service(data: bytes) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError as error:
        raise errors.Internal(f"Error parsing HealthCheckRequest: {error}") from error


def _response(status: Status) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())
