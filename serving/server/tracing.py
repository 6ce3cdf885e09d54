"""Traces of requests by OpenTelemetry, if it is installed and told where to send them; otherwise there are none.

Spans continue the client's (`traceparent`). The OTEL_* environment variables say where to, how many, and under what name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serving.errors import InvalidArgument
from serving.server.calls import Call

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span as OpenTelemetrySpan

SERVICE = "cnn-tf-serving"
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

# The gRPC codes that are the server's fault, as the semantic conventions have it: UNKNOWN, DEADLINE_EXCEEDED,
# UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
_FAULTS = {2, 4, 12, 13, 14, 15}


def start(*, wanted: bool = False) -> Tracing | None:
    """Traces to where the environment says, or None if it says nothing.

    wanted: then to OpenTelemetry's default endpoint, http://localhost:4318. Raises InvalidArgument if it is not installed.
    """
    if not wanted and not any(os.environ.get(name) for name in _VARIABLES):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InvalidArgument(
            f'Traces need OpenTelemetry ({error}): pip install "cnn-tf[tracing]", or unset {" and ".join(_VARIABLES)}.'
        ) from error
    return Tracing(BatchSpanProcessor(OTLPSpanExporter()))


class Tracing:
    """Makes spans, and hands them to `processor` when they end."""

    def __init__(self, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = Resource.create({"service.name": SERVICE})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("serving.server")
        self._extract = TraceContextTextMapPropagator().extract

    def rpc(self, call: Call, path: str) -> Span:
        """Begins the span of a gRPC call of "/service/method"; it ends with a gRPC status code."""
        service, _, method = path.removeprefix("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        return Span(self._begin(call, f"{service}/{method}", attributes), "rpc.grpc.status_code")

    def http(self, call: Call, method: str, path: str, route: str) -> Span:
        """Begins the span of an HTTP request; it ends with an HTTP status.

        route: the path's form, such as "/v1/models/{model}:predict"; "" for a path that has none of ours.
        """
        attributes = {"http.request.method": method, "url.path": path}
        if route:
            attributes["http.route"] = route
        return Span(self._begin(call, f"{method} {route}".strip(), attributes), "http.response.status_code")

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()

    def _begin(self, call: Call, name: str, attributes: Mapping[str, str]) -> OpenTelemetrySpan:
        from opentelemetry.trace import SpanKind

        address, _, port = call.peer.rpartition(":")
        peer: dict[str, Any] = {"client.address": address} if address else {}
        if port.isdecimal():
            peer["client.port"] = int(port)
        context = self._extract(call.metadata)
        return self._tracer.start_span(name, context, SpanKind.SERVER, {**attributes, **peer})


class Span:
    """A request under way. Its methods may be called from any thread."""

    def __init__(self, span: OpenTelemetrySpan, code: str) -> None:
        self._span = span
        self._code = code

    @property
    def trace_id(self) -> str:
        """As logs show it: 32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def model(self, name: str, version: int | None, signature: str) -> None:
        """Notes what answers the request; what is empty is left out."""
        named = {"cnn_tf.model": name, "cnn_tf.version": version, "cnn_tf.signature": signature}
        self._span.set_attributes({key: value for key, value in named.items() if value not in (None, "")})

    def event(self, name: str, **attributes: float) -> None:
        """Notes that a part of the work is done now, such as "queue" or "run", with how many seconds it took and so on."""
        self._span.add_event(name, attributes)

    def end(self, code: int, error: str = "") -> None:
        """The request was answered with this gRPC status code or HTTP status."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute(self._code, code)
        if code in _FAULTS or code >= 500:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()
