"""One call: its request is put together, its method run, its answer sent."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from serving import errors
from serving.server import calls
from serving.server.transports.http2 import messages, responses
from serving.server.transports.http2.flow import Sending
from serving.server.transports.http2.frames import Code
from serving.server.transports.http2.messages import Assembler

if TYPE_CHECKING:
    from serving.server.transports.http2.connection import Connection
    from serving.server.transports.http2.headers import Head

_log = logging.getLogger(__name__)

# Taken without asking the budget, and answered in the loop itself; parsing more would hold the other calls up.
SMALL = 64 * 1024
LARGE = 1024 * 1024
# A client that waits so long for an answer has reason to give up.
PATIENCE_SECONDS = 1.0
# Messages of streams are unpacked in the loop.
_MAX_INFLATED_IN_LOOP = 4 * 1024 * 1024


class Stream(ABC):
    """What calls with one and with many messages have in common. Only the loop's thread uses it, but for answers."""

    __slots__ = (
        "_timer",
        "assembler",
        "call",
        "connection",
        "half_closed",
        "head",
        "is_over",
        "number",
        "patient_until",
        "receive_window",
        "sending",
        "window",
    )

    def __init__(self, connection: Connection, number: int, head: Head) -> None:
        self.connection = connection
        self.number = number
        self.head = head
        now = time.monotonic()
        deadline = None if head.timeout is None else now + head.timeout
        self.patient_until = now + (
            PATIENCE_SECONDS if head.timeout is None else min(PATIENCE_SECONDS, head.timeout / 2)
        )
        """Whoever gives the call up from then on has waited for its answer. A client's time began before it got here."""
        self.call = calls.Call(
            peer=connection.peer, deadline=deadline, metadata=head.metadata, soon=connection.shared.outbox.soon
        )
        self.window = connection.sender.initial
        """Bytes that the client takes."""
        self.sending: Sending | None = None
        """What waits for the client to take it."""
        self.receive_window = connection.shared.limits.stream_window
        self.half_closed = False
        """The client sends nothing more."""
        self.is_over = False
        """The client hears nothing more."""
        self.assembler: Assembler | None = None
        """Puts together a request that does not come in one piece."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_half_here(self) -> bool:
        """Whether a message has begun to arrive."""
        return self.assembler is not None and not self.assembler.is_between_messages

    @abstractmethod
    def received(self, flag: int, message: bytes) -> None:
        """A message is complete; `flag` tells whether it is compressed. Raises ServingError."""

    @abstractmethod
    def fail(self, error: errors.ServingError) -> None:
        """Ends the call with an error."""

    def open(self) -> None:  # noqa: B027  a request of one message has to arrive first
        """The headers are here."""

    def start_timer(self) -> None:
        """Begins to watch the deadline, unless the call is answered."""
        seconds = self.call.seconds_left()
        if not self.is_over and seconds is not None:
            self._timer = self.connection.shared.loop.call_later(seconds, self._expire)

    def data(self, data: bytes, start: int, stop: int, last: bool) -> None:
        """A piece of the request: data[start:stop]."""
        if self.is_over:
            return
        if self.assembler is None:
            shared = self.connection.shared
            self.assembler = Assembler(shared.max_request_bytes, self.connection.budget)
        try:
            for flag, message in self.assembler.feed(memoryview(data)[start:stop]):
                self.received(flag, message)
        except errors.ServingError as error:
            self.fail(error)
        if last:
            self.end_of_request()

    def end_of_request(self) -> None:
        """The client sends nothing more."""
        if self.half_closed:
            return
        self.half_closed = True
        if self.is_over:
            return
        if self.is_half_here:
            self.fail(errors.Internal("The request ends within a message"))
            return
        self.all_received()

    @abstractmethod
    def all_received(self) -> None:
        """The request is complete."""

    def leave(self) -> None:
        """Nothing more is sent to the client."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self.sending is not None:
            self.connection.sender.forget(self)

    def abandon(self) -> None:
        """The client has reset the call, or is gone."""
        self.leave()
        self.release()
        self.cancel_call()

    def cancel_call(self) -> None:
        """Tells the method that nobody waits."""
        try:
            self.call.cancel()
        except Exception:
            _log.exception("A call could not be cancelled")

    def release(self) -> None:
        """Gives back what the request holds."""
        if self.assembler is not None:
            self.assembler.release()

    def all_sent(self) -> None:
        """The last byte of the answer is out."""
        self.connection.close_stream(self)

    def _expire(self) -> None:
        self.fail(errors.DeadlineExceeded("Deadline Exceeded"))
        self.cancel_call()
        self.connection.shared.outbox.deliver()


class UnaryStream(Stream):
    """A call with one request and one response."""

    __slots__ = ("_answered", "_compress", "_flag", "_has_request", "_inflated", "_request", "_running")

    def __init__(self, connection: Connection, number: int, head: Head) -> None:
        super().__init__(connection, number, head)
        self._request = b""
        self._has_request = False
        self._flag = 0
        self._running = False
        self._answered = False
        self._compress = False
        self._inflated = 0

    def data(self, data: bytes, start: int, stop: int, last: bool) -> None:
        """Takes the short way if this is the whole of a small request."""
        if last and self.assembler is None and 5 <= stop - start <= SMALL and not self.is_over:
            flag, length = messages.PREFIX.unpack_from(data, start)
            if flag == 0 and length == stop - start - 5 <= self.connection.shared.max_request_bytes:
                self._request = data[start + 5 : stop]
                self.half_closed = self._has_request = True
                self.all_received()
                return
        super().data(data, start, stop, last)

    def received(self, flag: int, message: bytes) -> None:
        """Keeps the request until it is known to be the only message."""
        if self._has_request:
            raise errors.Internal("More than one message in the request of a unary call")
        self._request, self._flag, self._has_request = message, flag, True

    def all_received(self) -> None:
        """Runs the method, now or when the client has taken earlier answers."""
        if not self._has_request:
            self.fail(errors.Internal("No message in the request of a unary call"))
        elif self.connection.takes_answers:
            self.run()
        else:
            self.connection.park(self)

    def run(self) -> None:
        """Calls the method, here or in another thread."""
        request, self._request = self._request, b""
        self._running = True
        method = cast("calls.Unary", self.head.method)
        if self._flag or method.blocking or len(request) > LARGE:
            self.connection.shared.pool.submit(self._run_elsewhere, method, request)
        else:
            calls.answer(method, request, self.call, self.reply)

    def _run_elsewhere(self, method: calls.Unary, request: bytes) -> None:
        if self.call.is_over:
            self.reply(errors.Cancelled("The caller gave up"))
            return
        try:
            if self._flag:
                request = self._inflate(request)
        except errors.ServingError as error:
            self.reply(error)
            return
        calls.answer(method, request, self.call, self.reply)

    def _inflate(self, request: bytes) -> bytes:
        plain = messages.decompressed(request, self.head.encoding, self.connection.shared.inflate_limit)
        if not self.connection.budget.take(len(plain)):
            raise errors.ResourceExhausted("The server holds too many large requests at once; try again later")
        self._inflated = len(plain)
        self._compress = self.head.accepts_gzip
        return plain

    def reply(self, result: bytes | errors.ServingError) -> None:
        """The answer; from any thread."""
        if self._compress and isinstance(result, bytes):
            result = messages.gzipped(result)
        self.connection.shared.outbox.put(self._finish, result)

    def _finish(self, result: bytes | errors.ServingError) -> None:
        if self._answered:
            return
        self._answered = True
        connection = self.connection
        if self.assembler is not None or self._inflated:
            self.release()
        if self.is_over:
            connection.ghosts -= 1
        elif isinstance(result, errors.ServingError):
            self._send_error(result)
        elif not self._compress and connection.sender.whole_answer(self, result):
            connection.close_stream(self)
        else:
            connection.sender.headers(self.number, responses.GZIP_HEADERS if self._compress else responses.OK_HEADERS)
            connection.sender.message(self, result, compressed=self._compress)
            connection.sender.end(self, responses.OK_TRAILERS)

    def fail(self, error: errors.ServingError) -> None:
        """Ends the call with an error, if it has no answer yet."""
        if self.is_over:
            return
        if self._answered:  # it is on its way, and cannot be taken back
            self.connection.reset(self.number, Code.CANCEL)
            return
        self._send_error(error)

    def _send_error(self, error: errors.ServingError) -> None:
        self.connection.sender.headers(self.number, responses.failed_at_once(error), end=True)
        self.connection.close_stream(self)

    def leave(self) -> None:
        """Nothing more is sent; the method may still run."""
        super().leave()
        self._request = b""
        if self._running and not self._answered:
            self.connection.ghosts += 1

    def release(self) -> None:
        """Not before the method has answered: until then it may hold the request."""
        if self._running and not self._answered:
            return
        super().release()
        if self._inflated:
            self.connection.budget.give_back(self._inflated)
            self._inflated = 0


class MessageStream(Stream):
    """A call with any number of messages in both directions; `calls.Outgoing` for its method."""

    __slots__ = ("_headers_sent", "_incoming", "_is_ending")

    def __init__(self, connection: Connection, number: int, head: Head) -> None:
        super().__init__(connection, number, head)
        self._headers_sent = False
        self._is_ending = False
        self._incoming: calls.Incoming | None = None

    def open(self) -> None:
        """Calls the method."""
        method = cast("calls.Streaming", self.head.method)
        try:
            self._incoming = method.open(self.call, self)
        except Exception as error:
            self.fail(calls.as_serving_error(error, method.path))

    def send(self, message: bytes) -> None:
        """Queues a message; from any thread."""
        self.connection.shared.outbox.put(self._send, message)

    def close(self, error: errors.ServingError | None = None) -> None:
        """Ends the stream; from any thread."""
        self.connection.shared.outbox.put(self._end, error)

    def received(self, flag: int, message: bytes) -> None:
        """Passes the message on."""
        shared = self.connection.shared
        if flag:
            limit = min(shared.max_request_bytes, _MAX_INFLATED_IN_LOOP)
            message = messages.decompressed(message, self.head.encoding, limit)
        if self.assembler is not None:
            self.assembler.release_complete()
        self._tell(lambda incoming: incoming.received(message))

    def all_received(self) -> None:
        """Tells the method that no more messages come."""
        self._tell(lambda incoming: incoming.half_closed())

    def _tell(self, event: Callable[[calls.Incoming], None]) -> None:
        if self._incoming is None or self.is_over:
            return
        try:
            event(self._incoming)
        except Exception as error:
            self.fail(calls.as_serving_error(error, cast("calls.Streaming", self.head.method).path))

    def _send(self, message: bytes) -> None:
        if self.is_over or self._is_ending:
            return
        sender = self.connection.sender
        if not self._headers_sent:
            self._headers_sent = True
            sender.headers(self.number, responses.OK_HEADERS)
        sender.message(self, message)
        if self.sending is not None and self.sending.unsent > self.connection.shared.limits.unsent_stream:
            self.fail(errors.ResourceExhausted("The client does not read what the server sends"))

    def _end(self, error: errors.ServingError | None) -> None:
        if self.is_over or self._is_ending:
            return
        self._is_ending = True
        block = responses.trailers(error)
        if not self._headers_sent:
            block = responses.OK_HEADERS + block
        if self.connection.sender.end(self, block):
            self.connection.close_stream(self)

    def fail(self, error: errors.ServingError) -> None:
        """What is queued is dropped: the client must hear of the error, even if it reads nothing else."""
        if self.is_over:
            return
        self.connection.sender.forget(self)
        self._is_ending = False
        self._end(error)
        self.cancel_call()
