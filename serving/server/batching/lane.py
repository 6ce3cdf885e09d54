"""Requests to a model that answers within a millisecond: run in the thread that reads them.

To hand such a request to another thread, and its answer back, takes longer than to answer it: only one thread at a time runs
Python, and each change of threads waits for that.
"""

from __future__ import annotations

import logging
import threading
import time

from serving.errors import Unavailable
from serving.server.batching.request import CLOSED, Function, Kind, Request
from serving.server.batching.running import Execution, reply
from serving.server.batching.waiting import Batch
from serving.server.calls import Soon

_log = logging.getLogger(__name__)

# A run that takes so long holds all other requests up; what was measured no longer holds, and the threads take over.
PATIENCE_SECONDS = 0.25


class QuickLane:
    """Joins what the reading thread has read in one go, and runs it there. Safe to use from several such threads."""

    def __init__(self, execution: Execution, rows: int) -> None:
        """rows: how many examples a run may have; 0: nothing is run here."""
        self._execution = execution
        self._rows = rows
        self._batches: list[Batch] = []
        self._open: dict[Kind, Batch] = {}
        # By which threads: the first of them runs all, and none waits for one that is about to end.
        self._scheduled: set[Soon] = set()
        self._lock = threading.Lock()
        # Held while a batch runs, so that `close` waits for it; again by what an answer calls.
        self._running = threading.RLock()
        self._is_open = rows > 0

    def take(self, function: Function, kind: Kind, request: Request) -> bool:
        """Runs the request soon; False if it cannot be run here."""
        soon = request.call.soon
        if soon is None or request.size > self._rows:
            return False
        with self._lock:
            if not self._is_open:
                return False
            batch = self._open.get(kind)
            if batch is not None and batch.size + request.size <= self._rows:
                batch.requests.append(request)
                batch.size += request.size
            else:
                self._open[kind] = batch = Batch(function, kind, request, request.since)
                self._batches.append(batch)
            if soon not in self._scheduled:
                self._scheduled.add(soon)
                soon(self._run)
        return True

    def _run(self) -> None:
        with self._lock:
            batches, self._batches = self._batches, []
            self._open.clear()
            self._scheduled.clear()
        with self._running:
            for batch in batches:
                begin = time.monotonic()
                self._execution.run(batch, begin)
                if (seconds := time.monotonic() - begin) > PATIENCE_SECONDS:
                    self._is_open = False
                    _log.warning("A run that should be quick took %.2f s; from now on such runs have threads", seconds)

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return sum(len(batch.requests) for batch in list(self._batches))

    def close(self) -> None:
        """Answers what waits with Unavailable and returns once nothing runs."""
        with self._running, self._lock:
            self._is_open = False
            batches, self._batches = self._batches, []
            self._open.clear()
        for batch in batches:
            for request in batch.requests:
                reply(request, Unavailable(CLOSED))
