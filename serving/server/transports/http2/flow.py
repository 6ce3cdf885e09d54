"""Bytes out: within the client's windows, fair between its calls, and never more in memory than it takes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from serving.server.transports.http2 import frames, responses
from serving.server.transports.http2.frames import Code
from serving.server.transports.http2.messages import PREFIX

if TYPE_CHECKING:
    from serving.server.transports.http2.outbox import Outbox
    from serving.server.transports.http2.stream import Stream

# A larger answer goes out in frames of at most this, so that others get their turn.
_FAIR_FRAME = 256 * 1024
# Above this it is cheaper to hand buffers to the socket one by one than to join them.
_JOIN = 64 * 1024
# How much is cut into frames before the socket is asked whether it takes more.
_ROUND = 1024 * 1024


class Sending:
    """What of a stream is still to be sent."""

    __slots__ = ("chunks", "queued", "trailers", "unsent")

    def __init__(self) -> None:
        self.chunks: deque[memoryview] = deque()
        self.unsent = 0
        self.trailers = b""
        """Frame that ends the stream, once all is sent."""
        self.queued = False


class Sender:
    """The outgoing half of a connection. Only the loop's thread uses it."""

    __slots__ = (
        "_dirty",
        "_out",
        "_outbox",
        "_queue",
        "_transport",
        "frame",
        "initial",
        "paused",
        "sent",
        "unsent",
        "window",
    )

    def __init__(self, transport: asyncio.WriteTransport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._out: list[bytes | memoryview] = []
        self._dirty = False
        self._queue: deque[tuple[Stream, Sending]] = deque()
        self.window = frames.DEFAULT_WINDOW
        self.initial = frames.DEFAULT_WINDOW
        self.frame = frames.DEFAULT_FRAME_SIZE
        self.paused = False
        """The socket takes no more for now."""
        self.unsent = 0
        """Bytes of answers that wait for windows or for the socket."""
        self.sent = 0
        """Bytes so far; tells whether the client takes anything."""

    def control(self, frame: bytes) -> None:
        """Sends frames that no window holds back."""
        self._out.append(frame)
        self.touch()

    def touch(self) -> None:
        """Something has changed: looks at the end of this turn of the loop what may go."""
        if not self._dirty:
            self._dirty = True
            self._outbox.dirty.append(self)

    def headers(self, number: int, block: bytes, *, end: bool = False) -> None:
        """Sends a block of headers at once."""
        flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
        self.control(frames.pack(frames.HEADERS, flags, number, block))

    def whole_answer(self, stream: Stream, message: bytes) -> bool:
        """Sends headers, message and trailers if all of it may go at once: what nearly all calls need."""
        length = len(message)
        size = length + 5
        if size > self.window or size > self.frame or size > stream.window or self._queue or self.paused:
            return False
        self.window -= size
        self.sent += size
        number = stream.number
        self._out += (responses.before(number, length), message, responses.after(number))
        self.touch()
        return True

    def message(self, stream: Stream, message: bytes, *, compressed: bool = False) -> None:
        """Queues a message behind what the stream has queued already."""
        sending = stream.sending = stream.sending or Sending()
        sending.chunks.append(memoryview(PREFIX.pack(compressed, len(message))))
        sending.chunks.append(memoryview(message))
        size = len(message) + PREFIX.size
        sending.unsent += size
        self.unsent += size
        self._enqueue(stream, sending)
        self.touch()

    def end(self, stream: Stream, block: bytes) -> bool:
        """Ends a stream with trailers, behind its messages; True if that was sent at once."""
        flags = frames.END_HEADERS | frames.END_STREAM
        trailers = frames.pack(frames.HEADERS, flags, stream.number, block)
        if stream.sending is not None and stream.sending.unsent:
            stream.sending.trailers = trailers
            return False
        self.control(trailers)
        return True

    def forget(self, stream: Stream) -> None:
        """Drops what a stream has queued."""
        if stream.sending is not None:
            self.unsent -= stream.sending.unsent
            stream.sending.unsent = 0
            stream.sending.chunks.clear()

    def widen(self, increment: int) -> None:
        """The client takes more on the connection. Raises ConnectionError."""
        self.window += increment
        if self.window > frames.MAX_INTEGER:
            raise frames.ConnectionError(Code.FLOW_CONTROL_ERROR, "the window overflows")
        if self._queue:
            self.touch()

    def widen_stream(self, stream: Stream, increment: int) -> bool:
        """The client takes more on one stream, or less, after SETTINGS; False if its window overflows."""
        stream.window += increment
        if stream.sending is not None and stream.sending.unsent and stream.window > 0:
            self._enqueue(stream, stream.sending)
            self.touch()
        return stream.window <= frames.MAX_INTEGER

    def flush(self) -> None:
        """Gives the socket what may go; called once a turn of the loop."""
        self._dirty = False
        while self._queue or self._out:
            if self._queue:
                self._pump()
            out, self._out = self._out, []
            if not out or self._transport.is_closing():
                return
            if sum(map(len, out)) <= _JOIN:
                self._transport.write(b"".join(out))
            else:
                self._transport.writelines(out)

    def _enqueue(self, stream: Stream, sending: Sending) -> None:
        if not sending.queued:
            sending.queued = True
            self._queue.append((stream, sending))

    def _pump(self) -> None:
        """Cuts queued messages into frames, one of each stream in turn."""
        room = _ROUND
        while self._queue and self.window > 0 and room > 0 and not self.paused:
            stream, sending = self._queue.popleft()
            size = min(self.window, stream.window, self.frame, sending.unsent, _FAIR_FRAME)
            if size <= 0:  # all sent, or waits for its own window
                sending.queued = False
                continue
            self._cut_frame(stream, sending, size)
            room -= size
            if sending.unsent:
                self._queue.append((stream, sending))
                continue
            sending.queued = False
            if sending.trailers:
                self._out.append(sending.trailers)
                stream.all_sent()

    def _cut_frame(self, stream: Stream, sending: Sending, size: int) -> None:
        self._out.append(frames.HEADER.pack(size << 8 | frames.DATA, 0, stream.number))
        self.window -= size
        stream.window -= size
        sending.unsent -= size
        self.unsent -= size
        self.sent += size
        while size:
            chunk = sending.chunks.popleft()
            if len(chunk) > size:
                sending.chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            size -= len(chunk)
            self._out.append(chunk)
