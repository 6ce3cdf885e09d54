"""OpenTelemetry's traces of a client's calls, for applications that have imported it; for others, none and no import.

A call is one span of the kind CLIENT, under the application's own. All attempts at it are within that span, each that failed
as an event "retry": whether the call went well is what a trace is read for, one that did in the end is no error, and the spans
of a server whom several attempts reached, each of which continues the call's, lie side by side in it.

Names are those of the semantic conventions: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ and .../http/http-spans/.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc

from serving.errors import ServingError

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.trace import Span as OpenTelemetrySpan
    from opentelemetry.trace import Tracer


class Span:
    """A call that nobody traces; a context manager, which lasts as long as the call."""

    metadata: tuple[tuple[str, str], ...] = ()
    """What goes with each attempt, so that the server's span continues this one: `traceparent`, and what else is propagated."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """How the call ended."""

    def retry(self, error: ServingError, seconds: float) -> None:
        """An attempt failed; another is made in so many seconds."""

    def request(self, verb: str, url: str) -> None:
        """HTTP is about to be asked."""

    def response(self, status: int) -> None:
        """HTTP has answered."""


UNTRACED = Span()


class _Traced(Span):
    """A call over gRPC."""

    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        from opentelemetry import propagate, trace

        self._span: OpenTelemetrySpan = _tracer().start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(self._span))
        # gRPC takes no capitals, and HTTP does not see them.
        self.metadata = tuple((key.lower(), value) for key, value in carrier.items())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes(self._ended(error))
        if error:
            self._span.set_status(Status(StatusCode.ERROR, str(error)))
        self._span.end()

    def retry(self, error: ServingError, seconds: float) -> None:
        told = {"error.type": error.code.name, "error.message": error.message, "pause.seconds": seconds}
        self._span.add_event("retry", told)

    def _ended(self, error: BaseException | None) -> dict[str, Any]:
        number: int = _code(error).value[0]
        return {"rpc.grpc.status_code": number, **({"error.type": _code(error).name} if error else {})}


class _TracedHttp(_Traced):
    """A call over REST; of several requests and responses, the last are told."""

    _status: int | None = None

    def request(self, verb: str, url: str) -> None:
        self._status = None
        self._span.update_name(verb)
        self._span.set_attributes({"http.request.method": verb, "url.full": url})

    def response(self, status: int) -> None:
        self._status = status

    def _ended(self, error: BaseException | None) -> dict[str, Any]:
        answered = {} if self._status is None else {"http.response.status_code": self._status}
        if error is None:
            return answered
        failed = self._status is not None and self._status >= 400
        return {**answered, "error.type": str(self._status) if failed else _code(error).name}


def rpc(method: str, address: str) -> Span:
    """A call of "/service/method" begins at gRPC's address of a server."""
    if not _is_wanted():
        return UNTRACED
    service, _, name = method.removeprefix("/").partition("/")
    told = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    return _Traced(f"{service}/{name}", {**told, **_server(address)})


def http(method: str, address: str) -> Span:
    """The same over REST, at the URL of a server."""
    return _TracedHttp("HTTP", _server(address)) if _is_wanted() else UNTRACED


def _is_wanted() -> bool:
    return "opentelemetry.trace" in sys.modules


@cache
def _tracer() -> Tracer:
    """Also before the application has said where spans go: from then on, it is that one's."""
    from opentelemetry import trace

    return trace.get_tracer("serving.client")


def _server(address: str) -> dict[str, Any]:
    """Of a name that stands for several servers, there is no port."""
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        port = url.port
    except ValueError:
        return {"server.address": address}
    if not url.hostname or port is None:
        return {"server.address": url.hostname or address}
    return {"server.address": url.hostname, "server.port": port}


def _code(error: BaseException | None) -> grpc.StatusCode:
    """A call that is given up, for example since its task is cancelled, ends with an exception that is none of ours."""
    if error is None:
        return grpc.StatusCode.OK
    return error.code if isinstance(error, ServingError) else grpc.StatusCode.CANCELLED
