"""The client for threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate

import grpc

from serving import errors
from serving.client import bulk, steps
from serving.client.bulk import Plan, Reply
from serving.client.connection import DEFAULT_CONNECTION, Address, Connection
from serving.client.core import DEFAULT_TIMEOUT, Core
from serving.client.retries import DEFAULT_RETRY, Retry
from serving.client.steps import Call, Failed, Given, Outcome, Read, Result, Step, Steps, read


def _blocking(
    method: Callable[Concatenate[Core, Given], Steps[Result]],
) -> Callable[Concatenate[PredictClient, Given], Result]:
    def call(client: PredictClient, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return client._run(method(client._core, *args, **kwargs))

    return steps.present(call, method)


def _iterating(
    method: Callable[Concatenate[Core, Given], Plan],
) -> Callable[Concatenate[PredictClient, Given], Generator[Reply, None, None]]:
    def call(client: PredictClient, /, *args: Given.args, **kwargs: Given.kwargs) -> Generator[Reply, None, None]:
        return client._follow(method(client._core, *args, **kwargs))

    return steps.present(call, method, Generator[Reply, None, None])


class Stop:
    """Ends what threads do for one caller: their calls are cancelled, and their pauses are over."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self._attempts: set[Any] = set()

    def __call__(self) -> None:
        """From now on nobody waits."""
        self._is_set.set()
        for attempt in list(self._attempts):
            attempt.cancel()

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more."""
        return self._is_set.is_set()

    def pause(self, seconds: float) -> None:
        """Sleeps, unless it is over."""
        self._is_set.wait(seconds)

    def watch(self, attempt: Any) -> None:
        """Cancels this call too, a future of gRPC's."""
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        if self._is_set.is_set():
            attempt.cancel()


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
    map = _iterating(Core.map)
    classify = _blocking(Core.classify)
    metadata = _blocking(Core.metadata)
    status = _blocking(Core.status)
    wait_until_ready = _blocking(Core.wait_until_ready)
    reload = _blocking(Core.reload)

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._channel.close()

    def _follow(self, plan: Plan) -> Generator[Reply, None, None]:
        outcome: Any = None
        stop = Stop()
        with ThreadPoolExecutor(plan.in_flight, "cnn-tf-map") as threads:
            try:
                while (action := bulk.following(plan, outcome)) is not None:
                    if isinstance(action, bulk.Pull):
                        outcome = list(islice(action.pictures, action.size))
                    elif isinstance(action, bulk.Start):
                        outcome = threads.submit(
                            copy_context().run, self._run, action.steps, stop
                        )  # the caller's trace
                    else:
                        yield from action.work.result()
                        outcome = None
            finally:
                stop()

    def _run(self, steps: Steps[Result], stop: Stop | None = None) -> Result:
        """What the steps return. stop: may end them from another thread, with Cancelled."""
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                outcome = self._take(step, stop)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            steps.close()  # now, also if whoever handles an exception keeps its frames

    def _take(self, step: Step, stop: Stop | None = None) -> Outcome:
        if isinstance(step, Call):
            return self._call(step, stop)
        if isinstance(step, Read):
            return read(step)
        pause = stop.pause if stop else time.sleep
        pause(step.seconds)
        return None

    def _call(self, call: Call, stop: Stop | None) -> bytes | Failed:
        answer: bytes
        try:
            if call.hedge_after is not None and call.hedge_after < call.seconds:
                answer = self._hedged(call, call.hedge_after, stop)
            elif stop:
                answer = self._start(call, stop).result()
            else:
                answer = self._method(call)(call.request, timeout=call.seconds, metadata=call.metadata)
        except grpc.RpcError as error:
            return Failed.of(error)
        except grpc.FutureCancelledError as error:
            return Failed(grpc.StatusCode.CANCELLED, "The call was cancelled.", error)
        except ValueError as error:  # gRPC's word for a closed channel
            raise errors.Cancelled(f"This client is closed ({error}).") from error
        return answer

    def _hedged(self, call: Call, seconds: float, stop: Stop | None) -> bytes:
        """The first answer of at most two attempts. Raises RpcError, the last one's, if there is none."""
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        attempts = [self._start(call, stop, done)]
        try:
            try:
                ended = done.get(timeout=seconds)
            except queue.Empty:
                attempts.append(self._start(call.hedge(), stop, done))
                ended = done.get()
                if ended.code() is not grpc.StatusCode.OK:
                    ended = done.get()
            answer: bytes = ended.result()
            return answer
        finally:
            for attempt in attempts:
                attempt.cancel()

    def _start(self, call: Call, stop: Stop | None, done: queue.SimpleQueue[Any] | None = None) -> Any:
        attempt = self._method(call).future(call.request, timeout=call.seconds, metadata=call.metadata)
        if done:
            attempt.add_done_callback(done.put)
        if stop:
            stop.watch(attempt)
        return attempt

    def _method(self, call: Call) -> Any:
        if call.method not in self._methods:
            self._methods[call.method] = self._channel.unary_unary(call.method)
        return self._methods[call.method]
