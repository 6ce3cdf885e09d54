"""Counts, logs and traces requests, in one place for all methods and transports."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import grpc

from serving import errors
from serving.server import calls
from serving.server.calls import Call, Reply, Unary
from serving.server.metrics import Metrics
from serving.server.request_log import RequestLog
from serving.server.tracing import Tracing


class Observer:
    """What happens to every request beside its answer. Services say in the `Call` which model answers."""

    def __init__(self, metrics: Metrics, log: RequestLog, tracing: Tracing | None = None) -> None:
        self.metrics = metrics
        self.tracing = tracing
        self._log = log

    def answered(
        self,
        call: Call,
        api: str,
        entrypoint: str,
        status: str,
        seconds: float,
        error: str = "",
        received: int = 0,
        sent: int = 0,
    ) -> None:
        """A request was answered. The words are those of `Metrics.request`; `error` is the text that the client got."""
        self.metrics.request(call.model, api, entrypoint, status, seconds, call.version, received, sent)
        if self._log.wants(status):
            self._log.answered(
                call, f"{entrypoint} {api}".strip(), status, seconds, error,
                model=call.model, version=call.version, signature=call.signature,
            )  # fmt: skip

    def observed(self, method: Unary) -> Unary:
        """The same gRPC method, each call of which is counted, logged if it fails, and traced."""
        api = method.path.rpartition("/")[2]

        def answer(request: bytes, call: Call, reply: Reply) -> None:
            begin = perf_counter()
            received = len(request)
            span = call.span = self.tracing.rpc(call, method.path) if self.tracing else None

            def observing(response: bytes | errors.ServingError) -> None:
                seconds = perf_counter() - begin
                if isinstance(response, errors.ServingError):
                    code, text = response.code, response.message
                    self.answered(call, api, "GRPC", code.name, seconds, text, received)
                else:
                    code, text = grpc.StatusCode.OK, ""
                    self.answered(call, api, "GRPC", "OK", seconds, "", received, len(response))
                reply(response)
                if span:
                    span.model(call.model, call.version, call.signature)
                    span.end(code.value[0], text)

            calls.answer(method, request, call, observing)

        return replace(method, answer=answer)
