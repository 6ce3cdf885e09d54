"""One client: its calls, from its first byte to its last."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from typing import cast

from serving import errors
from serving.server import calls
from serving.server.transports.http2 import frames, responses
from serving.server.transports.http2.flow import Sender
from serving.server.transports.http2.frames import Code
from serving.server.transports.http2.headers import Head
from serving.server.transports.http2.limits import Budget
from serving.server.transports.http2.listening import peer_name, tune
from serving.server.transports.http2.receiver import DRAIN_PING, Receiver
from serving.server.transports.http2.shared import Shared
from serving.server.transports.http2.stream import MessageStream, Stream, UnaryStream

_log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """The protocol of a socket. All of it runs in the loop's thread."""

    __slots__ = (
        "_age_limit", "_born", "_bytes_read", "_draining_since", "_idle_since", "_is_closing", "_is_final",
        "_moved_at", "_moved_bytes", "_parked", "_receiver", "_transport", "budget", "ghosts", "peer", "sender", "shared",
        "streams",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        limits = shared.limits
        self.budget = Budget(limits.held * limits.held_share, shared.budget)
        self.streams: dict[int, Stream] = {}
        self.ghosts = 0
        """Calls that are over for the client, but still run here: a client must not start more by giving up."""
        self._parked: deque[UnaryStream] = deque()
        self._draining_since = 0.0
        self._is_final = False
        self._is_closing = False
        self._born = self._moved_at = self._idle_since = time.monotonic()
        self._age_limit = limits.age_seconds * random.uniform(0.9, 1.1)  # clients shall not all come back at once
        self._bytes_read = self._moved_bytes = 0
        self._receiver = Receiver(self)

    # From asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here."""
        self._transport = cast(asyncio.Transport, transport)
        self.peer = peer_name(transport.get_extra_info("peername"))
        self.sender = Sender(self._transport, self.shared.outbox)
        self.shared.connections.add(self)
        encrypted = transport.get_extra_info("ssl_object")
        if encrypted is not None and encrypted.selected_alpn_protocol() != "h2":
            self._is_closing = True
            self._transport.abort()
            return
        tune(transport.get_extra_info("socket"))
        self._transport.set_write_buffer_limits(high=self.shared.limits.write_buffer)
        self._transport.write(self.shared.greeting)
        if self.shared.is_stopping:
            self.drain()
            self.sender.flush()

    def data_received(self, data: bytes) -> None:
        """Reads frames, runs what they complete, and writes what that has to say."""
        if self._is_closing:
            return
        outbox = self.shared.outbox
        outbox.hold()
        self._bytes_read += len(data)
        try:
            self._receiver.read(data)
        except frames.ConnectionError as error:
            self._close_with(error.code, str(error))
        except frames.NotHttp2:
            self.sender.control(responses.NOT_GRPC)
            self._hang_up()
        except Exception:
            _log.exception("The connection of %s broke", self.peer)
            self._close_with(Code.INTERNAL_ERROR, "the server is at fault")
        finally:
            outbox.deliver()
        self.shared.watch_soon()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is read from it."""
        self.sender.paused = True
        if not self._is_closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.sender.paused = False
        if self._is_closing:
            return
        self._transport.resume_reading()
        self.sender.touch()
        self.shared.outbox.deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._is_closing = True
        self.shared.connections.discard(self)
        self._abandon_all()

    # For what the client sends.

    @property
    def takes_calls(self) -> bool:
        """Whether a new call may begin."""
        limit = self.shared.limits.streams
        # Each for itself: a client knows how many calls it has, but not how many of those that it gave up still run.
        return not self._is_final and len(self.streams) < limit and self.ghosts < limit

    @property
    def is_draining(self) -> bool:
        """Whether the client has been asked for no more calls."""
        return self._draining_since > 0

    def open_stream(self, number: int, head: Head, ends: bool) -> None:
        """A call begins."""
        if head.method is None:
            self.sender.headers(number, head.refusal, end=True)
            if not ends:
                self.sender.control(frames.reset(number, Code.NO_ERROR))
            return
        kind = UnaryStream if isinstance(head.method, calls.Unary) else MessageStream
        stream = self.streams[number] = kind(self, number, head)
        if head.timeout is not None:
            self.shared.unwatched.append(stream)
        stream.open()
        if ends:
            stream.end_of_request()

    def reset(self, number: int, code: Code) -> None:
        """Ends a stream without an answer, for a mistake of the client."""
        self.sender.control(frames.reset(number, code))
        self.client_reset(number)

    def client_reset(self, number: int) -> None:
        """The client gave a call up."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.abandon()
            self._after_stream()

    # For streams.

    @property
    def takes_answers(self) -> bool:
        """Whether the client reads its answers, so that it may have more."""
        return self.sender.unsent <= self.shared.limits.unsent

    def park(self, stream: UnaryStream) -> None:
        """Runs a call later, once earlier answers are taken."""
        self._parked.append(stream)

    def close_stream(self, stream: Stream) -> None:
        """All that there is to send has been sent."""
        self.streams.pop(stream.number, None)
        stream.leave()
        if stream.assembler is not None:
            stream.release()
        self._receiver.earn()
        if not stream.half_closed:
            self.sender.control(frames.reset(stream.number, Code.NO_ERROR))
        self._after_stream()

    # For the server.

    @property
    def has_unary_calls(self) -> bool:
        """Whether somebody waits for an answer; calls of many messages may go on for ever and do not count."""
        return any(isinstance(stream, UnaryStream) for stream in self.streams.values())

    @property
    def is_busy(self) -> bool:
        """Whether a stopping server has to wait for it."""
        return not self._is_final or self.has_unary_calls

    def drain(self) -> None:
        """Asks the client for no more calls. What it sends before it hears of that is answered."""
        if self._draining_since or self._is_closing:
            return
        self._draining_since = time.monotonic()
        self.sender.control(frames.goaway(frames.MAX_INTEGER, Code.NO_ERROR))
        self.sender.control(frames.pack(frames.PING, 0, 0, DRAIN_PING))

    def finish_drain(self) -> None:
        """Takes no more calls: the client has heard. Hangs up when the last is answered."""
        if self._is_final or self._is_closing:
            return
        self._is_final = True
        self.sender.control(frames.goaway(self._receiver.last_stream, Code.NO_ERROR))
        self._after_stream()

    def cancel_all(self) -> None:
        """Ends the calls under way with UNAVAILABLE, which clients try elsewhere."""
        for stream in list(self.streams.values()):
            stream.fail(errors.Unavailable("The server is stopping"))
            stream.cancel_call()

    def abort(self) -> None:
        """Closes at once."""
        self._transport.abort()

    def look_after(self, now: float) -> None:
        """Ends what takes too long; called every second or so. `now` is on the clock of time.monotonic."""
        limits = self.shared.limits
        if self._draining_since:
            if now - self._draining_since > limits.linger_seconds:
                self.finish_drain()
            if now - self._draining_since > limits.age_grace_seconds:
                self.cancel_all()
        if not self._receiver.greeted and now - self._born > limits.preface_seconds:
            self._close_with(Code.SETTINGS_TIMEOUT, "no HTTP/2 preface")
        elif now - self._born > self._age_limit or (not self.streams and now - self._idle_since > limits.idle_seconds):
            self.drain()
        self._end_if_stalled(now)

    def _end_if_stalled(self, now: float) -> None:
        moved = self._bytes_read + self.sender.sent
        waits = self.sender.unsent or self.sender.paused or any(each.is_half_here for each in self.streams.values())
        if moved != self._moved_bytes or not waits:
            self._moved_bytes, self._moved_at = moved, now
        elif now - self._moved_at > self.shared.limits.stall_seconds:
            self._close_with(Code.ENHANCE_YOUR_CALM, "nothing moves")

    # The end.

    def _after_stream(self) -> None:
        while self._parked and self.takes_answers:
            stream = self._parked.popleft()
            if not stream.is_over:
                stream.run()
        if self._is_final and not self.has_unary_calls:
            self.cancel_all()
        if not self.streams:
            self._idle_since = time.monotonic()
            if self._is_final:
                self.shared.loop.call_later(self.shared.limits.linger_seconds, self._hang_up)

    def _close_with(self, code: Code, text: str) -> None:
        """Tells the client why, and closes."""
        if self._is_closing:
            return
        _log.info("Closing the connection of %s: %s (%s)", self.peer, text, code.name)
        self.sender.control(frames.goaway(self._receiver.last_stream, code, text))
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes, but not before the client had a while to read why: closing on unread input would lose it."""
        if self._is_closing:
            return
        self._is_closing = True
        self.sender.flush()
        self._abandon_all()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.shared.loop.call_later(self.shared.limits.linger_seconds, self._transport.abort)

    def _abandon_all(self) -> None:
        self._parked.clear()
        while self.streams:
            self.streams.popitem()[1].abandon()
