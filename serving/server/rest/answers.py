"""What a model answers, awaited: until its time is up, and as long as somebody wants it."""

from __future__ import annotations

import asyncio
from typing import Any

from serving import errors
from serving.server.calls import Call
from serving.server.rest.client import Client, GoneError
from serving.server.rest.predict import Task


async def awaited(task: Task, call: Call, client: Client) -> Any:
    """Submits a task and waits for its result. Raises ServingError: DeadlineExceeded among others; GoneError."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def done(result: Any) -> None:
        task.lent.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, future, result)

    try:
        task.submit(call, done)
    except BaseException:
        task.lent.release()
        raise
    timer = loop.call_later(call.seconds_left() or 0, _settle, future, errors.DeadlineExceeded("Deadline exceeded"))
    watcher = loop.create_task(client.gone())
    watcher.add_done_callback(lambda _: _settle(future, GoneError()))
    try:
        result = await future
    finally:
        timer.cancel()
        watcher.cancel()
        if not future.done() or isinstance(future.result(), (errors.DeadlineExceeded, GoneError)):
            call.cancel()
    if isinstance(result, Exception):
        raise result
    return result


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    """The first result counts; it may be an exception, since nobody may be there any more to be raised it at."""
    if not future.done():
        future.set_result(result)
