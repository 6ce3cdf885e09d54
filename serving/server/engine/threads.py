"""How many threads an operation of a model uses, and how many calls run at once, chosen by a short measurement.

In a small network an operation takes less time than to hand parts of it to other threads: one thread each, and several calls
at once. In a large one a lone request is answered fastest if all threads share each operation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from serving.server.engine.options import EngineOptions
from serving.server.engine.sessions import Function, cpus
from serving.wire.tensors import Array

# Of each measurement, of which there are at most four.
SECONDS = 0.04
BATCH = 8
# More calls at once than this gain nothing: Python hands them out one at a time.
MAX_SLOTS = 8
# How much longer a lone request may take so that several run at once.
LATENCY_FACTOR = 1.25
# How much less throughput is not worth a lone request that waits for another thread; measurements vary as much.
LESS_THROUGHPUT = 0.8
# From here on an operation is worth sharing, and a second session costs memory that matters.
LARGE_WEIGHTS = 16 * 2**20
SLOW_SECONDS = 0.004
# What takes so long is tried neither with other threads nor with more rows.
LONG_SECONDS = 0.25
# Batches to try, within this time; and what is said of a model that it does not suffice for.
BATCHES = (1, 8, 32)
BATCHES_SECONDS = 0.2
ANY_BATCH = 64
# Of a network that is too slow to try: ResNet-18 does as many pictures a second with 8 as with 64.
SLOW_BATCH = 8
# Of the rows a second at best, which are as good.
NEARLY_BEST = 0.95
# What it costs to hand a request to another thread and its answer back, when there are many; and how long a call with one row
# may hold up the thread that reads requests.
HANDOVER_SECONDS = 0.00015
QUICK_SECONDS = 0.001

Rates: TypeAlias = Mapping[int, float]
"""Rows in a call -> rows a second."""


@dataclass(frozen=True)
class Choice:
    """Threads of a model."""

    intra_op: int
    slots: int
    seconds: float | None = None
    """Of a call with one row; None: not measured."""


@dataclass(frozen=True)
class Trial:
    """What to measure with: `function` makes the model's main function for a number of threads."""

    function: Callable[[int], Function]
    row: Sequence[Array]
    """Arrays of a lone request."""
    joinable: bool
    weight_bytes: int


def choose(options: EngineOptions, trial: Trial | None) -> Choice:
    """What the options say, and where they say nothing, what answers fastest."""
    everything = cpus()
    slots = options.inter_op_parallelism or options.session_parallelism
    intra_op = options.intra_op_parallelism or options.session_parallelism
    if options.session_config is not None:
        return Choice(0, slots or min(everything, MAX_SLOTS))
    if intra_op:
        return Choice(intra_op, slots or max(1, min(everything // intra_op, MAX_SLOTS)))
    if trial is None or everything == 1:
        return Choice(everything, slots or min(everything, MAX_SLOTS))
    chosen = _fastest(trial, everything)
    return Choice(chosen.intra_op, slots or chosen.slots, chosen.seconds)


def _fastest(trial: Trial, everything: int) -> Choice:
    shared = trial.function(everything)
    shared_seconds = _seconds(shared, trial.row)
    large = Choice(everything, 1, shared_seconds)
    if shared_seconds > LONG_SECONDS or (shared_seconds > SLOW_SECONDS and trial.weight_bytes > LARGE_WEIGHTS):
        return large
    single = trial.function(1)
    single_seconds = _seconds_of_single(single, trial.row)
    if single_seconds > LATENCY_FACTOR * shared_seconds:
        return large
    slots = min(everything, MAX_SLOTS)
    if single_seconds < QUICK_SECONDS:  # nothing to share, whatever is measured beside other work
        return Choice(1, slots, single_seconds)
    takes_more = trial.joinable and BATCH * shared_seconds < LONG_SECONDS
    rows = [np.repeat(array, BATCH, axis=0) for array in trial.row] if takes_more else trial.row
    if _calls(single, rows, slots) < LESS_THROUGHPUT * _calls(shared, rows, 1):
        return large
    return Choice(1, slots, single_seconds)


def _seconds_of_single(function: Function, arrays: Sequence[Array]) -> float:
    """The same for a session with one thread, measured in a thread of its own.

    oneDNN keeps for each thread what it has compiled for a shape, and with it for how many threads: what a session with more of
    them has left in this one would hand parts of a small convolution to another thread, which takes as long as all of LeNet.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_seconds, function, arrays).result()


def _seconds(function: Function, arrays: Sequence[Array]) -> float:
    """Of the fastest call; the first is not counted, since it sets things up, and compiles what XLA is to run."""
    function(*arrays)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while True:
        start = time.perf_counter()
        function(*arrays)
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best


def _calls(function: Function, arrays: Sequence[Array], callers: int) -> float:
    """Calls a second with `callers` threads at work."""
    function(*arrays)
    counts: list[int] = [0] * callers
    start = time.perf_counter()
    end = start + SECONDS

    def work(caller: int) -> None:
        while time.perf_counter() < end:
            function(*arrays)
            counts[caller] += 1

    workers = [threading.Thread(target=work, args=(caller,)) for caller in range(callers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - start)


def rates(function: Function, row: Sequence[Array], seconds: float) -> Rates:
    """Rows a second with each of BATCHES that does not take long to try. seconds: of a call with `row`."""
    rates, left = {BATCHES[0]: 1 / seconds}, BATCHES_SECONDS
    for batch in BATCHES[1:]:
        begin = time.perf_counter()
        # Two calls at least, which take as long for each row as in the batch before.
        if max(SECONDS, 2 * batch / rates[max(rates)]) > left:
            break
        rates[batch] = batch / _seconds(function, [np.repeat(array, batch, axis=0) for array in row])
        left -= time.perf_counter() - begin
    return rates


def best_batch(rates: Rates) -> int:
    """The smallest of BATCHES that does nearly as many rows a second as the best; SLOW_BATCH if larger ones were not tried."""
    found = next(batch for batch, rate in rates.items() if rate >= NEARLY_BEST * max(rates.values()))
    return found if found < max(rates) or found == BATCHES[-1] else SLOW_BATCH


def quick_rows(rates: Rates) -> int:
    """How many rows run best in the thread that reads them: 0 unless a row takes less than to hand it over.

    Whatever has been read is run before more is read, so it is as many as are worth a call.
    """
    is_quick = max(rates.values()) * HANDOVER_SECONDS >= 1 and rates[1] * QUICK_SECONDS >= 1
    return BATCHES[-1] if is_quick else 0


def told(choice: Choice) -> str:
    """For the log."""
    threads = "thread" if choice.intra_op == 1 else "threads"
    calls = "call" if choice.slots == 1 else "calls"
    intra_op = (
        f"{choice.intra_op} intra-op {threads}" if choice.intra_op else "threads as the session's configuration says"
    )
    seconds = f", {_milliseconds(choice.seconds)} ms a call" if choice.seconds is not None else ""
    return f"{intra_op} x {choice.slots} {calls} at once{seconds}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}" if seconds >= 0.1 else f"{1000 * seconds:.3g}"
