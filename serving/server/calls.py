"""A request under way, and the methods that answer it: the seam between transports and services.

A transport carries bytes. It makes a `Call` of each request, finds the method by its path, and hands both over; the method
answers through `Reply`, at once or later, from any thread. So services know no transport, and a transport knows no service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from serving import errors

_log = logging.getLogger(__name__)

# TensorFlow Serving cuts longer error texts here, in gRPC only.
MAX_MESSAGE_LENGTH = 1024

Reply: TypeAlias = Callable[["bytes | errors.ServingError"], None]
"""Takes the serialized response, or why there is none; called exactly once, from any thread."""


Soon: TypeAlias = Callable[[Callable[[], None]], object]
"""Takes a function that needs no longer than a millisecond or so."""


class Span(Protocol):
    """The trace of a request."""

    @property
    def trace_id(self) -> str:
        """By which it is found again, hexadecimal."""

    def event(self, name: str, **attributes: float) -> None:
        """Notes that a part of the work is done now, such as "queue" or "run", with how many seconds it took and so on."""


class Call:
    """One request: who asks, how long they wait, and whether they still do. Safe to use from several threads."""

    __slots__ = (
        "_callbacks", "cancelled", "deadline", "metadata", "model", "peer", "request_id", "signature", "soon", "span",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        *,
        peer: str = "",
        deadline: float | None = None,
        metadata: Mapping[str, str] | None = None,
        soon: Soon | None = None,
    ) -> None:
        self.peer = peer
        """Address of the client, "127.0.0.1:4711" or "unix:"."""
        self.deadline = deadline
        """When the answer is no longer wanted, on the clock of `time.monotonic`, seconds; None: never."""
        self.metadata: Mapping[str, str] = metadata or {}
        """Headers by name in lower case, without those of the protocol itself; of "-bin" ones each byte is a character."""
        self.request_id = self.metadata.get("x-request-id", "")
        self.soon = soon
        """Runs a function in the thread that reads requests, once it has read what there is; None: there is no such thing."""
        self.cancelled = False
        # What whoever answers says of it, for metrics, log and trace, as soon as it is known.
        self.model = ""
        self.version: int | None = None
        self.signature = ""
        self.span: Span | None = None
        """None: the request is not traced."""
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.cancelled or (self.deadline is not None and time.monotonic() >= self.deadline)

    def seconds_left(self) -> float | None:
        """Until the deadline, at least 0; None: no deadline."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def require_wanted(self) -> None:
        """Raises Cancelled or DeadlineExceeded once nobody waits for the answer."""
        if self.cancelled:
            raise errors.Cancelled("The caller gave up")
        if self.is_over:
            raise errors.DeadlineExceeded("Deadline exceeded before the request was run")

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once the caller gives up; at once if that has happened."""
        self._callbacks.append(callback)
        if self.cancelled:
            self.cancel()

    def cancel(self) -> None:
        """The caller gave up, or its connection is gone. For transports."""
        self.cancelled = True
        while True:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # all called, by this thread or by another
                return
            callback()


@dataclass(frozen=True)
class Unary:
    """A method with one request and one response."""

    path: str
    """As gRPC spells it: "/tensorflow.serving.PredictionService/Predict"."""
    answer: Callable[[bytes, Call, Reply], None]
    """Takes the serialized request; may raise ServingError instead of replying."""
    blocking: bool = False
    """Whether `answer` may take longer than a few milliseconds; an event loop then calls it in another thread."""


class Outgoing(Protocol):
    """The server's side of a stream; its methods may be called from any thread."""

    def send(self, message: bytes) -> None:
        """Queues a serialized message."""

    def close(self, error: errors.ServingError | None = None) -> None:
        """Ends the stream; further calls do nothing."""


class Incoming(Protocol):
    """What a method does with the client's side of a stream; its methods are called one at a time and never block."""

    def received(self, message: bytes) -> None:
        """A serialized message. May raise ServingError, which ends the stream."""

    def half_closed(self) -> None:
        """The client sends nothing more, but still listens."""


@dataclass(frozen=True)
class Streaming:
    """A method with any number of messages in both directions. When the client goes away its `Call` is cancelled."""

    path: str
    open: Callable[[Call, Outgoing], Incoming]


Methods: TypeAlias = Mapping[str, "Unary | Streaming"]
"""By path."""


def by_path(methods: Iterable[Unary | Streaming]) -> Methods:
    """The table that a transport looks methods up in."""
    return {method.path: method for method in methods}


def answer(method: Unary, request: bytes, call: Call, reply: Reply) -> None:
    """Runs a method for a transport: whatever it raises becomes the reply."""
    try:
        method.answer(request, call, reply)
    except Exception as error:
        reply(as_serving_error(error, method.path))


def as_serving_error(error: Exception, what: str) -> errors.ServingError:
    """The error itself if it is one of ours; any other is logged, and is Internal to the client."""
    if isinstance(error, errors.ServingError):
        return error
    _log.error("%s failed", what, exc_info=error)
    return errors.Internal(f"{type(error).__name__}: {error}")


def cut(message: str) -> str:
    """An error text as gRPC carries it."""
    return message if len(message) <= MAX_MESSAGE_LENGTH else message[:MAX_MESSAGE_LENGTH] + "...TRUNCATED"
