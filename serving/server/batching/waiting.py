"""Requests that wait, in the batches that they will run in. Knows no threads; callers hold a lock."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from serving.errors import Unavailable
from serving.server.batching.parameters import Parameters
from serving.server.batching.request import Function, Kind, Request, split

FULL = "The batch scheduling queue to which this task was submitted is full; "


class Batch:
    """Requests of one function that run together."""

    __slots__ = ("due", "function", "is_closed", "kind", "requests", "size")

    def __init__(self, function: Function, kind: Kind | None, request: Request, due: float) -> None:
        self.function = function
        self.kind = kind
        """What its requests agree in; None: it is for one request alone."""
        self.requests = [request]
        self.size = request.size
        """Examples of all requests."""
        self.due = due
        """When it runs even if it is not full, on the clock of `time.monotonic`."""
        self.is_closed = kind is None
        """Whether it waits for no more requests."""


class Waiting:
    """The batches of all functions. Functions take turns, so that much traffic to one never keeps another waiting."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._run_size = parameters.run_size
        self._seconds = parameters.batch_timeout_micros / 1e6
        # The batches of each function, oldest first; functions in the order of their turns, only those that have batches.
        self._queues: OrderedDict[Function, deque[Batch]] = OrderedDict()
        # The batch that others of its kind may join, if they fit.
        self._open: dict[Kind | None, Batch] = {}
        self.requests = 0
        """How many wait; one that is split counts as several."""

    def add(self, function: Function, kind: Kind | None, request: Request, idle: int) -> Sequence[Batch | None]:
        """Puts a request into a batch, into one of its own if `kind` is None; returns what to tell `idle` threads.

        That is a batch to run, which more may join until it is closed; or None: `take` has changed. There may be more of
        them than threads. Raises Unavailable if too many batches wait.
        """
        batch = self._open.get(kind)
        room = 0 if batch is None else self._run_size - batch.size
        if batch is not None and request.size <= room:
            return self._join(batch, request)
        if kind is not None and self._parameters.max_enqueued_batches is not None:
            self._require_room(function, room, request.size, self._parameters.max_enqueued_batches)
        if kind is None or not self._parameters.enable_large_batch_splitting:
            return (self._start(function, kind, request, idle),)
        parts = split(request, room, self._run_size)
        news = self._join(batch, next(parts)) if batch is not None and room else ()
        return [*news, *[self._start(function, kind, part, 0) for part in parts]]

    def _join(self, batch: Batch, request: Request) -> Sequence[None]:
        batch.requests.append(request)
        batch.size += request.size
        self.requests += 1
        if batch.size < self._run_size:
            return ()
        batch.is_closed = True
        return (None,) if self._seconds else ()

    def _start(self, function: Function, kind: Kind | None, request: Request, idle: int) -> Batch | None:
        """A new batch, which closes the one that had no room; it waits unless a thread is idle."""
        batch = Batch(function, kind, request, request.since + self._seconds)
        self.requests += 1
        if kind is not None:
            if kind in self._open:
                self._open[kind].is_closed = True
            self._open[kind] = batch
            batch.is_closed = batch.size >= self._run_size
        if idle and not self._seconds:
            return batch
        queue = self._queues.get(function)
        if queue is None:
            self._queues[function] = deque((batch,))
        else:
            queue.append(batch)
        return None

    def _require_room(self, function: Function, room: int, size: int, limit: int) -> None:
        """Raises Unavailable if the batches that a request needs are too many."""
        count = len(self._queues.get(function, ()))
        if not self._parameters.enable_large_batch_splitting:
            if count >= limit:
                raise Unavailable(f"{FULL}currently {count} batches enqueued and max_enqueued_batches is {limit}")
            return
        capacity = (limit - count) * self._run_size + room
        if size > capacity:
            # TensorFlow Serving counts an open batch even if it is empty.
            opened = self._run_size - room if count else 0
            raise Unavailable(
                f"{FULL}task size is {size} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={max(count, 1)}, max_enqueued_batches={limit}, open_batch_size={opened}, "
                f"max_execution_batch_size={self._run_size})"
            )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take, now or later."""
        return not self._queues

    @property
    def is_full(self) -> bool:
        """Whether a batch is there that no more can join."""
        return any(batch.is_closed for queue in self._queues.values() for batch in queue)

    def take(self, now: float) -> Batch | None:
        """The batch whose turn it is, closed, if any is full or due at the time `now`."""
        for function, queue in self._queues.items():
            for batch in queue:
                if batch.is_closed or batch.due <= now:
                    self._remove(function, queue, batch)
                    return batch
        return None

    def _remove(self, function: Function, queue: deque[Batch], batch: Batch) -> None:
        queue.remove(batch)
        if queue:
            self._queues.move_to_end(function)
        else:
            del self._queues[function]
        self.close(batch)

    def close(self, batch: Batch) -> None:
        """Lets no more requests join a batch that is about to run."""
        if self._open.get(batch.kind) is batch:
            del self._open[batch.kind]
        self.requests -= len(batch.requests)

    def due(self) -> float:
        """When `take` will find something at the latest, on the clock of `time.monotonic`; only if it is not empty."""
        return min(batch.due for queue in self._queues.values() for batch in queue)

    def clear(self) -> list[Request]:
        """Takes all out."""
        requests = [request for queue in self._queues.values() for batch in queue for request in batch.requests]
        self._queues.clear()
        self._open.clear()
        self.requests -= len(requests)
        return requests
