"""Counts, logs and traces requests, in one place for all methods and transports."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TypeAlias

import grpc

from serving import errors
from serving.server import calls
from serving.server.calls import Call, Reply, Unary
from serving.server.metrics import Metrics
from serving.server.request_log import RequestLog
from serving.server.tracing import Span, Tracing

Way: TypeAlias = tuple[str, str]
"""How a request came: `api` and `entrypoint` of `metrics.Key`."""


class Observer:
    """What happens to every request beside its answer. Services say in the `Call` which model answers."""

    def __init__(self, metrics: Metrics, log: RequestLog, tracing: Tracing | None = None) -> None:
        self.metrics = metrics
        self.tracing = tracing
        self._log = log

    def answered(
        self, call: Call, way: Way, status: str, seconds: float, error: str = "", sizes: tuple[int, int] = (0, 0)
    ) -> None:
        """A request was answered. `error` is the text that the client got, `sizes` are the bytes received and sent."""
        api, entrypoint = way
        self.metrics.request((call.model, call.version, api, entrypoint, status), seconds, *sizes)
        if self._log.wants(status):
            self._log.answered(
                call, f"{entrypoint} {api}".strip(), status, seconds, error,
                model=call.model, version=call.version, signature=call.signature,
            )  # fmt: skip

    def observed(self, method: Unary) -> Unary:
        """The same gRPC method, each call of which is counted, logged if it fails, and traced."""
        way = method.path.rpartition("/")[2], "GRPC"

        def answer(request: bytes, call: Call, reply: Reply) -> None:
            span = call.span = self.tracing.rpc(call, method.path) if self.tracing else None
            calls.answer(method, request, call, _Answering(self, way, call, reply, len(request), span).take)

        return replace(method, answer=answer)


class _Answering:
    """Observes the reply to one request.

    No function within the other: compiled, the two refer to each other, and the collection of what thousands of requests leave
    takes milliseconds in which nobody is answered.
    """

    __slots__ = ("_begin", "_call", "_observer", "_received", "_reply", "_span", "_way")

    def __init__(
        self, observer: Observer, way: Way, call: Call, reply: Reply, received: int, span: Span | None
    ) -> None:
        self._begin = perf_counter()
        self._observer = observer
        self._way = way
        self._call = call
        self._reply = reply
        self._received = received
        self._span = span

    def take(self, response: bytes | errors.ServingError) -> None:
        """Counts it and passes it on."""
        seconds = perf_counter() - self._begin
        if isinstance(response, errors.ServingError):
            code, text, sent = response.code, response.message, 0
        else:
            code, text, sent = grpc.StatusCode.OK, "", len(response)
        call = self._call
        self._observer.answered(call, self._way, code.name, seconds, text, (self._received, sent))
        self._reply(response)
        if (span := self._span) is not None:
            span.model(call.model, call.version, call.signature)
            span.end(code.value[0], text)
