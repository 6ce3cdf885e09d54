"""Joins concurrent requests into one run of the model.

There is no timer. A request that finds a free slot runs at once, so a lone request waits for nobody; requests that arrive
while all slots are busy wait together, and whoever becomes free next takes all of them in one batch. Requests run in the
threads of their callers: the first in the queue leads, runs the batch and wakes the others.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.errors import FailedPrecondition, InvalidArgument
from serving.server.servable import Function
from serving.wire.tensors import Array

_log = logging.getLogger(__name__)


class _Task:
    """One request: its inputs, and later its outputs or its error."""

    def __init__(self, function: Function, feeds: Sequence[Array]) -> None:
        self.function = function
        self.feeds = feeds
        self.size = _batch_size(feeds)
        # Only what agrees in all of this may share a batch, so nobody's wrong shape can fail a neighbour.
        self.key = (function, tuple((feed.dtype, feed.shape[1:]) for feed in feeds))
        self.wake = threading.Event()
        self.done = False
        self.outputs: Sequence[Any] = ()
        self.error: Exception | None = None

    def run(self) -> None:
        """Runs this request alone."""
        try:
            self.outputs = self.function(*self.feeds)
        except Exception as error:
            self.error = error
        self.done = True


def _batch_size(feeds: Sequence[Array]) -> int:
    if not feeds or any(feed.ndim == 0 for feed in feeds):
        raise InvalidArgument("Batching needs inputs whose first axis is the batch. Received a scalar or no input.")
    sizes: set[int] = {feed.shape[0] for feed in feeds}
    if len(sizes) > 1:
        raise InvalidArgument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


class Batcher:
    """An `Execute` for servables. `max_batch_size` counts examples; a larger request runs alone."""

    def __init__(self, max_batch_size: int = 64, slots: int | None = None) -> None:
        self._max_batch_size = max_batch_size
        self._free_slots = slots or os.cpu_count() or 1
        self._waiting: deque[_Task] = deque()
        self._lock = threading.Lock()

    def __call__(self, function: Function, feeds: Sequence[Array]) -> Sequence[Any]:
        """Runs `function` on `feeds`, perhaps together with others; returns this request's outputs."""
        task = _Task(function, feeds)
        with self._lock:
            leads = self._free_slots > 0
            if leads:
                self._free_slots -= 1
            else:
                self._waiting.append(task)
        if not leads:
            task.wake.wait()
        if not task.done:
            self._lead(task)
        if task.error:
            raise task.error
        return task.outputs

    def _lead(self, leader: _Task) -> None:
        """Runs the leader's batch; then the head of the queue inherits the slot and the followers wake."""
        batch = self._take(leader)
        _run(batch)
        with self._lock:
            if self._waiting:
                self._waiting.popleft().wake.set()
            else:
                self._free_slots += 1
        for follower in batch[1:]:
            follower.wake.set()

    def _take(self, leader: _Task) -> list[_Task]:
        """The leader, and all that wait and fit into a batch with it."""
        batch, size = [leader], leader.size
        with self._lock:
            for task in list(self._waiting):
                if task.key == leader.key and size + task.size <= self._max_batch_size:
                    self._waiting.remove(task)
                    batch.append(task)
                    size += task.size
        return batch


def _run(batch: list[_Task]) -> None:
    if len(batch) > 1:
        try:
            return _run_joined(batch)
        except Exception as error:
            # One request's fault, such as a corrupt picture, must not fail its neighbours; each finds its own error.
            _log.debug("A batch of %d requests failed, running them one by one: %s", len(batch), error)
    for task in batch:
        task.run()
    return None


def _run_joined(batch: list[_Task]) -> None:
    sizes = [task.size for task in batch]
    joined = [np.concatenate(feeds) for feeds in zip(*(task.feeds for task in batch), strict=True)]
    outputs = batch[0].function(*joined)
    if any(np.ndim(output) == 0 or len(output) != sum(sizes) for output in outputs):
        raise FailedPrecondition(
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors"
        )
    parts = zip(*(np.split(output, np.cumsum(sizes)[:-1]) for output in outputs), strict=True)
    for task, part in zip(batch, parts, strict=True):
        task.outputs, task.done = part, True
