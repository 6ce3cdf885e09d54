"""A load of equal requests: from callers who wait for their answers (closed loop), or at given times (open loop).

A closed loop asks for less as soon as the server is slow, and so hides what users who do not wait would see. An open loop
counts from when a request was due, also while it waited for its turn in here.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc

Send = Callable[[], Awaitable[object]]


class Load(NamedTuple):
    """Either `callers` who ask again as soon as they are answered, or `rate` requests per second, which come at random.

    seconds: that are measured.  warm_up: seconds before them, with the same load.
    """

    callers: int | None
    rate: float | None
    seconds: float
    warm_up: float


@dataclass
class Measured:
    """latencies: seconds of each request that was answered.  failures: their number by gRPC's status.

    seconds: from the end of the warm-up until the last answer.  cpu: what this process took of one CPU, from 0 to 1 or more.
    """

    latencies: array[float] = field(default_factory=lambda: array("d"))
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu: float = 0.0


async def measure(send: Send, load: Load) -> Measured:
    """Puts the load on whatever `send` asks; an RpcError of it is a failure."""
    measured = Measured()
    start, cpu = time.perf_counter(), time.process_time()
    begin = start + load.warm_up
    end = begin + load.seconds

    async def ask(since: float) -> None:
        try:
            await send()
        except grpc.RpcError as error:
            if since >= begin:
                measured.failures[error.code().name] += 1
        else:
            if since >= begin:
                measured.latencies.append(time.perf_counter() - since)

    if load.rate is None:
        await asyncio.gather(*[_caller(ask, begin, end) for _ in range(load.callers or 1)])
    else:
        await _at_times(ask, _arrivals(start, end, load.rate))
    now = time.perf_counter()
    measured.seconds = max(now, end) - begin
    measured.cpu = (time.process_time() - cpu) / (now - start)
    return measured


async def _caller(ask: Callable[[float], Awaitable[None]], begin: float, end: float) -> None:
    """Asks until the `end`; once after the `begin` at least, however long the warm-up's last answer takes."""
    is_measured = False
    while (now := time.perf_counter()) < end or not is_measured:
        await ask(now)
        is_measured = now >= begin


async def _at_times(ask: Callable[[float], Awaitable[None]], times: Iterator[float]) -> None:
    loop, stop = asyncio.get_running_loop(), threading.Event()
    waiting: set[asyncio.Future[None]] = set()

    def begin(due: float) -> None:
        task = asyncio.ensure_future(ask(due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    def wake() -> None:
        """In a thread, whose clock is finer: asyncio's timers are of whole milliseconds."""
        for due in times:
            if stop.wait(max(due - time.perf_counter(), 0.0)):
                return
            loop.call_soon_threadsafe(begin, due)

    try:
        await asyncio.to_thread(wake)
        while waiting:
            await asyncio.wait(waiting)
    finally:
        stop.set()


def _arrivals(start: float, end: float, rate: float) -> Iterator[float]:
    """Times of a Poisson process: users who know nothing of each other. The same ones each time."""
    draw = random.Random(0)
    due = start
    while (due := due + draw.expovariate(rate)) < end:
        yield due
