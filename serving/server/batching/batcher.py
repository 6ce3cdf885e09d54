"""The threads that take requests from the queue and run them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from serving.errors import Unavailable
from serving.server.batching.gathering import Gathering
from serving.server.batching.lane import QuickLane
from serving.server.batching.parameters import Parameters
from serving.server.batching.request import CLOSED, Done, Function, Request, measure
from serving.server.batching.running import Execution, Observer, reply
from serving.server.batching.waiting import Batch, Waiting
from serving.server.batching.watcher import Watcher
from serving.server.calls import Call
from serving.wire.tensors import Array

_log = logging.getLogger(__name__)

# A run is stuck when it takes so many times what is usual for its examples, within these limits (in units of `patience`).
UNUSUAL = 5
MAX_PATIENCE = 10
MAX_REPLACED = 4 * (os.cpu_count() or 1)
_watcher = Watcher(0.25)


class _Runner:
    """A thread that runs batches, and what it is at, since `begin` on the clock of `time.monotonic`."""

    __slots__ = ("batch", "begin", "is_replaced", "thread")

    def __init__(self) -> None:
        self.thread: threading.Thread
        self.batch: Batch | None = None
        self.begin = 0.0
        self.is_replaced = False


class Batcher:
    """Runs requests to one loaded version in threads of its own, joined where they can be; safe to use from any thread.

    Unless the parameters have a timer, a request that finds a thread free runs at once; requests that come while all are busy
    wait together, and the next free thread takes as many as fit; the only thread of a model waits first, but not for long,
    for those whom it has just answered (`gathering`). A run that is stuck, such as an operation that waits for something
    outside, keeps its thread, and another thread takes its place.
    """

    def __init__(
        self, slots: int, parameters: Parameters, observe: Observer, *, quick_rows: int = 0, patience: float = 1.0
    ) -> None:
        """Starts `slots` threads, or as many as the parameters say; `observe` must be quick and not fail.

        quick_rows: so many examples of requests that are `quick` run together in the thread that submits them; 0: none.
        patience: a run may take `patience` seconds before it can count as stuck.
        """
        self._parameters = parameters
        self._patience = patience
        self._seconds_per_example = 0.0
        self._waiting = Waiting(parameters)
        self._lane = QuickLane(Execution(parameters, observe), quick_rows)
        threads = parameters.num_batch_threads or slots
        # TensorFlow Serving's rules say themselves what is waited for; of several threads another one runs what comes.
        self._gathering = Gathering(self._waiting) if threads == 1 and not parameters.is_strict else None
        self._execution = Execution(parameters, observe, self._gather if self._gathering is not None else None)
        self._lock = threading.Lock()
        self._is_closed = False
        # Each token wakes one idle runner; whoever adds one lowers their number first, under the lock. A token is a batch
        # to run, or None: to look for one.
        self._tokens: SimpleQueue[Batch | None] = SimpleQueue()
        self._idle = 0
        self._runners: list[_Runner] = []
        with self._lock:
            for _ in range(threads):
                self._start_runner()
        _watcher.add(self._relieve)

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return self._waiting.requests + self._lane.queued

    @property
    def running(self) -> int:
        """How many requests are being run."""
        return sum(len(batch.requests) for runner in list(self._runners) if (batch := runner.batch))

    def submit(
        self,
        function: Function,
        feeds: Sequence[Array],
        call: Call,
        done: Done,
        *,
        joinable: bool = True,
        quick: bool = False,
    ) -> None:
        """Queues a request; `done` gets its outputs or its error, exactly once: from another thread, or from this one soon.

        quick: its rows have the size that the model was measured with, so it may run in this thread (`Call.soon`).

        Only requests of the same function, with arrays of the same types and shapes beyond the batch axis, are joined, and
        only if they are `joinable`: the first axis of all inputs and outputs is the batch. Outputs are views of those of
        the whole run; to keep one is to keep them all. A request that nobody wants any more when its turn comes is not
        run: `done` gets Cancelled or DeadlineExceeded.

        Raises Unavailable after `close`, and what the parameters refuse: InvalidArgument, Unavailable if the queue is full.
        """
        size, kind = measure(function, feeds, self._parameters, joinable)
        request = Request(feeds, call, done, size, time.monotonic())
        if quick and kind is not None and self._lane.take(function, kind, request):
            return
        with self._lock:
            if self._is_closed:
                raise Unavailable(CLOSED)
            for news in self._waiting.add(function, kind, request, self._idle):
                if self._idle:
                    self._wake(news)
            if self._gathering is not None:
                self._gathering.look()

    def close(self) -> None:
        """Answers what waits with Unavailable and returns once nothing runs; may be called again, and by `done`."""
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
            requests = self._waiting.clear()
            runners = list(self._runners)
            while self._idle:
                self._wake()
            if self._gathering is not None:
                self._gathering.end()
        self._lane.close()
        for request in requests:
            reply(request, Unavailable(CLOSED))
        if is_first:
            _watcher.remove(self._relieve)
        for runner in runners:
            if runner.thread is not threading.current_thread():
                runner.thread.join()

    def _wake(self, batch: Batch | None = None) -> None:
        self._idle -= 1
        self._tokens.put(batch)

    def _start_runner(self) -> None:
        runner = _Runner()
        name = f"{self._parameters.thread_pool_name}_{len(self._runners)}"
        runner.thread = threading.Thread(target=self._serve, args=(runner,), name=name, daemon=True)
        self._runners.append(runner)
        runner.thread.start()

    def _serve(self, runner: _Runner) -> None:
        while (batch := self._next(runner)) is not None:
            self._execution.run(batch, runner.begin)
            seconds, is_joint = time.monotonic() - runner.begin, len(batch.requests) > 1
            self._seconds_per_example += (seconds / (batch.size or 1) - self._seconds_per_example) / 8
            runner.batch = None
            del batch  # its arrays shall not stay in memory while this thread waits
            if is_joint and self._gathering is not None and not runner.is_replaced:
                self._gathering.wait(seconds)
                with self._lock:
                    self._gathering.end()

    def _gather(self, answered: int) -> None:
        """Called before the requests of a joint run are answered."""
        with self._lock:
            if self._gathering is not None and not self._is_closed:
                self._gathering.begin(answered)

    def _next(self, runner: _Runner) -> Batch | None:
        """Waits for a batch; None: the thread is to end."""
        while True:
            due = None
            with self._lock:
                if self._is_closed or runner.is_replaced:
                    self._runners.remove(runner)
                    return None
                if not self._waiting.is_empty:
                    now = time.monotonic()
                    if (batch := self._waiting.take(now)) is not None:
                        runner.batch, runner.begin = batch, now
                        self._pass_on()
                        return batch
                    due = self._waiting.due()
                self._idle += 1
            batch = self._tokens.get() if due is None else self._sleep(due)
            if batch is not None:
                with self._lock:
                    self._waiting.close(batch)
                    runner.batch, runner.begin = batch, time.monotonic()
                return batch

    def _pass_on(self) -> None:
        """Of the runners that wait one must know when the next batch is due."""
        if self._parameters.batch_timeout_micros and self._idle and not self._waiting.is_empty:
            self._wake()

    def _sleep(self, due: float) -> Batch | None:
        """A token, or None at the time `due`."""
        try:
            return self._tokens.get(timeout=min(max(due - time.monotonic(), 0.0), 3600.0))
        except Empty:
            with self._lock:
                if self._idle:
                    self._idle -= 1
                    return None
            return self._tokens.get()  # meant for this thread: it was counted as idle when it was added

    def _relieve(self) -> None:
        """Gives every runner that is stuck a substitute, if requests wait for it; when it comes back it ends."""
        with self._lock:
            if self._idle or self._waiting.is_empty:
                return
            now = time.monotonic()
            replaced = [runner for runner in self._runners if runner.is_replaced]
            stuck = [runner for runner in self._runners if self._is_stuck(runner, now)]
            stuck = stuck[: MAX_REPLACED - len(replaced)]
            for runner in stuck:
                runner.is_replaced = True
                self._start_runner()
        for runner in stuck:
            _log.warning(
                "%s has been running %d requests for %.1f s; another thread goes on with those that wait",
                runner.thread.name, len(runner.batch.requests) if runner.batch else 0, now - runner.begin,
            )  # fmt: skip

    def _is_stuck(self, runner: _Runner, now: float) -> bool:
        if runner.batch is None or runner.is_replaced:
            return False
        usual = UNUSUAL * self._seconds_per_example * runner.batch.size
        return now - runner.begin >= min(max(usual, self._patience), MAX_PATIENCE * self._patience)
