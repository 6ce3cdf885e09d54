"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate

import grpc

from serving import errors, wire
from serving.client import steps
from serving.client.core import DEFAULT_TIMEOUT, Core
from serving.client.retries import DEFAULT_RETRY, Retry
from serving.client.steps import Call, Failed, Given, Outcome, Read, Result, Step, Steps, read


def _awaited(
    method: Callable[Concatenate[Core, Given], Steps[Result]],
) -> Callable[Concatenate[AsyncPredictClient, Given], Coroutine[Any, Any, Result]]:
    @steps.present(method)
    async def call(client: AsyncPredictClient, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return await client._run(method(client._core, *args, **kwargs))

    return call


class AsyncPredictClient:
    """`PredictClient` for asyncio: the same methods, to be awaited; an asynchronous context manager.

    Belongs to the event loop of its first call.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = DEFAULT_RETRY,
        check: bool = True,
    ) -> None:
        """As `PredictClient`."""
        self._core = Core(address, model, timeout=timeout, retry=retry, check=check)
        self._channel: Any = None
        self._methods: dict[str, Callable[..., Any]] = {}
        self._closed = False

    async def __aenter__(self) -> AsyncPredictClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._core.address

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._core.model

    predict = _awaited(Core.predict)
    classify = _awaited(Core.classify)
    signatures = _awaited(Core.signatures)
    status = _awaited(Core.status)
    wait_until_ready = _awaited(Core.wait_until_ready)
    reload = _awaited(Core.reload)

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def _run(self, steps: Steps[Result]) -> Result:
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                outcome = await self._take(step)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _take(self, step: Step) -> Outcome:
        if isinstance(step, Call):
            return await self._call(step)
        if isinstance(step, Read):
            return await asyncio.to_thread(read, step)
        await asyncio.sleep(step.seconds)
        return None

    async def _call(self, call: Call) -> bytes | Failed:
        try:
            method = self._method(call.method)
            answer: bytes = await method(call.request, timeout=call.seconds, metadata=call.metadata)
        except grpc.RpcError as error:
            return Failed.of(error)
        except asyncio.CancelledError as error:
            if self._closed:  # which cancels calls under way, as if their tasks were
                raise errors.Cancelled("This client is closed.") from error
            raise
        return answer

    def _method(self, name: str) -> Callable[..., Any]:
        if self._closed:
            raise errors.Cancelled("This client is closed.")
        if self._channel is None:  # a channel belongs to the loop that runs when it is made
            self._channel = grpc.aio.insecure_channel(self.address, options=wire.CHANNEL_OPTIONS)
        if name not in self._methods:
            self._methods[name] = self._channel.unary_unary(name)
        return self._methods[name]
