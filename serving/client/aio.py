"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
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


def _awaited(
    method: Callable[Concatenate[Core, Given], Steps[Result]],
) -> Callable[Concatenate[AsyncPredictClient, Given], Coroutine[Any, Any, Result]]:
    async def call(client: AsyncPredictClient, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return await client._run(method(client._core, *args, **kwargs))

    return steps.present(call, method)


def _iterating(
    method: Callable[Concatenate[Core, Given], Plan],
) -> Callable[Concatenate[AsyncPredictClient, Given], AsyncGenerator[Reply, None]]:
    def call(client: AsyncPredictClient, /, *args: Given.args, **kwargs: Given.kwargs) -> AsyncGenerator[Reply, None]:
        return client._follow(method(client._core, *args, **kwargs))

    return steps.present(call, method, AsyncGenerator[Reply, None])


class AsyncPredictClient:
    """`PredictClient` for asyncio: the same methods, to be awaited, and `map` for `async for`; an asynchronous context manager.

    Belongs to the event loop of its first call.
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
        """As `PredictClient`."""
        self._core = Core(
            address,
            model,
            timeout=timeout,
            retry=retry,
            hedge_after=hedge_after,
            connection=connection,
            check=check,
        )
        self._address = address
        self._connection = connection
        self._channel: Any = None
        self._methods: dict[str, Any] = {}
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
    map = _iterating(Core.map)
    classify = _awaited(Core.classify)
    metadata = _awaited(Core.metadata)
    status = _awaited(Core.status)
    wait_until_ready = _awaited(Core.wait_until_ready)
    reload = _awaited(Core.reload)

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def _follow(self, plan: Plan) -> AsyncGenerator[Reply, None]:
        outcome: Any = None
        tasks: set[asyncio.Task[list[Reply]]] = set()
        try:
            while (action := bulk.following(plan, outcome)) is not None:
                if isinstance(action, bulk.Pull):
                    outcome = await _pull(action)
                elif isinstance(action, bulk.Start):
                    outcome = asyncio.create_task(self._run(action.steps))
                    tasks.add(outcome)
                else:
                    for answer in await action.work:
                        yield answer
                    tasks.discard(action.work)
                    outcome = None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, steps: Steps[Result]) -> Result:
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                outcome = await self._take(step)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            steps.close()  # now, also if whoever handles an exception keeps its frames

    async def _take(self, step: Step) -> Outcome:
        if isinstance(step, Call):
            return await self._call(step)
        if isinstance(step, Read):
            return await asyncio.to_thread(read, step)
        await asyncio.sleep(step.seconds)
        return None

    async def _call(self, call: Call) -> bytes | Failed:
        if call.hedge_after is not None and call.hedge_after < call.seconds:
            return await self._hedged(call, call.hedge_after)
        try:
            answer: bytes = await self._method(call.method)(call.request, timeout=call.seconds, metadata=call.metadata)
        except grpc.RpcError as error:
            return Failed.of(error)
        except asyncio.CancelledError as error:
            if self._closed:  # which cancels calls under way, as if their tasks were
                raise errors.Cancelled("This client is closed.") from error
            raise
        return answer

    async def _hedged(self, call: Call, seconds: float) -> bytes | Failed:
        """The first answer of at most two attempts, or the last one's failure."""
        attempts = [asyncio.create_task(self._call(call._replace(hedge_after=None)))]
        try:
            await asyncio.wait(attempts, timeout=seconds)
            if not attempts[0].done():
                attempts.append(asyncio.create_task(self._call(call.hedge())))
            for ended in asyncio.as_completed(attempts):
                outcome = await ended
                if not isinstance(outcome, Failed):
                    break
            return outcome
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)  # else nobody takes what became of the slower one

    def _method(self, name: str) -> Any:
        if self._closed:
            raise errors.Cancelled("This client is closed.")
        if self._channel is None:  # a channel belongs to the loop that runs when it is made
            self._channel = self._connection.aio_channel(self._address)
        if name not in self._methods:
            self._methods[name] = self._channel.unary_unary(name)
        return self._methods[name]


async def _pull(wanted: bulk.Pull) -> list[object]:
    if not hasattr(wanted.pictures, "__anext__"):
        return list(islice(wanted.pictures, wanted.size))
    pulled: list[object] = []
    with suppress(StopAsyncIteration):
        while len(pulled) < wanted.size:
            pulled.append(await anext(wanted.pictures))
    return pulled
