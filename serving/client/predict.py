"""The client for threads."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Concatenate

import grpc

from serving import errors
from serving.client import steps
from serving.client.connection import DEFAULT_CONNECTION, Address, Connection
from serving.client.core import DEFAULT_TIMEOUT, Core
from serving.client.retries import DEFAULT_RETRY, Retry
from serving.client.steps import Call, Failed, Given, Outcome, Read, Result, Step, Steps, read


def _blocking(
    method: Callable[Concatenate[Core, Given], Steps[Result]],
) -> Callable[Concatenate[PredictClient, Given], Result]:
    @steps.present(method)
    def call(client: PredictClient, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return client._run(method(client._core, *args, **kwargs))

    return call


class PredictClient:
    """Predictions of one model of a server; a context manager, safe to use from many threads.

    All methods raise subclasses of `ServingError`: `Unavailable` if nobody answers, `DeadlineExceeded` after the timeout,
    `NotFound` for an unknown model or version, `InvalidArgument` for inputs that do not fit. `timeout` is in seconds, for the
    call and all its retries; None: the client's own.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = DEFAULT_RETRY,
        hedge_after: float | None = None,
        connection: Connection = DEFAULT_CONNECTION,
        check: bool = True,
    ) -> None:
        """Connects at the first call.

        address: "host:port"; a list of "IP:PORT", or one of gRPC's names such as dns:///host:port, of servers that take turns.
        timeout: seconds that a call may take, with its retries; each call can have its own.  retry: None for never.
        hedge_after: seconds after which predict and classify, still without an answer, ask a second time; None: never. A value
            that 95 % of the answers stay below cuts the slowest off for 5 % more requests.
        connection: TLS, token, gzip, interceptors, gRPC's service config.
        check: whether the server is asked once what the model takes, and inputs are held against it before they are sent.

        Raises ValueError for a timeout that is not a positive number of seconds, or addresses that are none; OSError for a
        certificate's file that cannot be read.
        """
        self._core = Core(
            address,
            model,
            timeout=timeout,
            retry=retry,
            hedge_after=hedge_after,
            connection=connection,
            check=check,
        )
        self._channel = connection.channel(address)
        self._methods: dict[str, Any] = {}

    def __enter__(self) -> PredictClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._core.address

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._core.model

    predict = _blocking(Core.predict)
    classify = _blocking(Core.classify)
    signatures = _blocking(Core.signatures)
    status = _blocking(Core.status)
    wait_until_ready = _blocking(Core.wait_until_ready)
    reload = _blocking(Core.reload)

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._channel.close()

    def _run(self, steps: Steps[Result]) -> Result:
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                outcome = self._take(step)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _take(self, step: Step) -> Outcome:
        if isinstance(step, Call):
            return self._call(step)
        if isinstance(step, Read):
            return read(step)
        time.sleep(step.seconds)
        return None

    def _call(self, call: Call) -> bytes | Failed:
        try:
            if call.hedge_after is not None and call.hedge_after < call.seconds:
                return self._hedged(call, call.hedge_after)
            answer: bytes = self._method(call)(call.request, timeout=call.seconds, metadata=call.metadata)
        except grpc.RpcError as error:
            return Failed.of(error)
        except ValueError as error:  # gRPC's word for a closed channel
            raise errors.Cancelled(f"This client is closed ({error}).") from error
        return answer

    def _hedged(self, call: Call, seconds: float) -> bytes:
        """The first answer of at most two attempts. Raises RpcError, the last one's, if there is none."""
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        attempts = [self._start(call, done)]
        try:
            try:
                ended = done.get(timeout=seconds)
            except queue.Empty:
                attempts.append(self._start(call.hedge(), done))
                ended = done.get()
                if ended.code() is not grpc.StatusCode.OK:
                    ended = done.get()
            answer: bytes = ended.result()
            return answer
        finally:
            for attempt in attempts:
                attempt.cancel()

    def _start(self, call: Call, done: queue.SimpleQueue[Any]) -> Any:
        attempt = self._method(call).future(call.request, timeout=call.seconds, metadata=call.metadata)
        attempt.add_done_callback(done.put)
        return attempt

    def _method(self, call: Call) -> Any:
        if call.method not in self._methods:
            self._methods[call.method] = self._channel.unary_unary(call.method)
        return self._methods[call.method]
