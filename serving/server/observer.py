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
from serving.server.tracing import Tracing

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
            begin = perf_counter()
            received = len(request)
            span = call.span = self.tracing.rpc(call, method.path) if self.tracing else None

            def observing(response: bytes | errors.ServingError) -> None:
                seconds = perf_counter() - begin
                if isinstance(response, errors.ServingError):
                    code, text = response.code, response.message
                    self.answered(call, way, code.name, seconds, text, (received, 0))
                else:
                    code, text = grpc.StatusCode.OK, ""
                    self.answered(call, way, "OK", seconds, sizes=(received, len(response)))
                reply(response)
                if span:
                    span.model(call.model, call.version, call.signature)
                    span.end(code.value[0], text)

            calls.answer(method, request, call, observing)

        return replace(method, answer=answer)
