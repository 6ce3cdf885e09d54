"""What a client's frames do to its connection (RFC 9113 section 6), and which of them it may send."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from serving.server.transports.http2 import frames
from serving.server.transports.http2.frames import Code, Setting
from serving.server.transports.http2.headers import HeadReader, Malformed
from serving.server.transports.http2.limits import Patience
from serving.server.transports.http2.reader import FrameReader, Handler

if TYPE_CHECKING:
    from serving.server.transports.http2.connection import Connection
    from serving.server.transports.http2.stream import Stream

DRAIN_PING = b"draining"
# Pieces, and steps of a window, below this many bytes count as frames without use.
_TINY = 64
# HTTP/2 has a handful of settings, of six bytes each.
_MAX_SETTINGS = 600
# A change of all windows costs as much as a frame without use for each of this many calls.
_WINDOWS_PER_FRAME = 10


class Receiver:
    """The incoming half of a connection."""

    __slots__ = (
        "_connection",
        "_control",
        "_fragments",
        "_heads",
        "_limits",
        "_patiences",
        "_pending",
        "_reader",
        "_resets",
        "_window",
        "greeted",
        "last_stream",
    )

    def __init__(self, connection: Connection) -> None:
        shared = connection.shared
        self._connection = connection
        self._limits = limits = shared.limits
        self._reader = FrameReader(limits, self._handlers(), self._target_of)
        self._heads = HeadReader(shared.methods, limits.header_list, limits.header_block)
        self._control = Patience(limits.control_burst, limits.control_rate)
        self._resets = Patience(limits.reset_burst, limits.reset_rate)
        self._patiences = (self._control, self._resets)
        self._window = limits.connection_window
        # A header block that goes on in CONTINUATION frames: its stream, whether the request ends with it, what is here.
        self._pending = (0, False)
        self._fragments: list[bytes] = []
        self.last_stream = 0
        self.greeted = False
        """Whether the client has shown that it speaks HTTP/2."""

    def read(self, data: bytes) -> None:
        """Takes what has arrived. Raises ConnectionError, NotHttp2."""
        self._reader.read(data)

    def earn(self) -> None:
        """A call was answered."""
        for patience in self._patiences:
            if patience.count:
                patience.earn()

    def _handlers(self) -> list[Handler]:
        """By the type of the frame; DATA has its own way."""
        return [
            self._useless,
            self._headers,
            self._useless,  # PRIORITY: no longer has a meaning
            self._reset,
            self._settings,
            self._push,
            self._ping,
            self._useless,  # GOAWAY: the client will close when it has its answers
            self._window_update,
            self._continuation,
        ]

    def _spend(self, patience: Patience, cost: int = 1) -> None:
        if not patience.spend(cost):
            raise frames.ConnectionError(Code.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def _useless(self, flags: int, number: int, payload: bytes) -> None:
        self._spend(self._control)

    def _push(self, flags: int, number: int, payload: bytes) -> None:
        raise frames.ConnectionError(Code.PROTOCOL_ERROR, "a client must not push")

    # DATA.

    def _target_of(self, number: int, length: int, flags: int) -> Stream | None:
        """Whom DATA is for, once both windows have been counted; None: for nobody any more."""
        self._count(length)
        stream = self._connection.streams.get(number)
        ends = flags & frames.END_STREAM
        if stream is None:
            self._require_known(number)
            if length < _TINY:
                self._spend(self._control)
            return None
        if stream.half_closed:
            self._connection.reset(number, Code.STREAM_CLOSED)
            return None
        stream.receive_window -= length
        if stream.receive_window < 0:
            self._connection.reset(number, Code.FLOW_CONTROL_ERROR)
            return None
        if not ends:
            self._replenish(stream, length)
        return stream

    def _count(self, length: int) -> None:
        """Takes from the connection's window, and opens it again: what arrives is bounded by the budget instead."""
        self._window -= length
        if self._window < 0:
            raise frames.ConnectionError(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        full = self._limits.connection_window
        if self._window < full // 2:
            self._connection.sender.control(frames.window_update(0, full - self._window))
            self._window = full

    def _replenish(self, stream: Stream, length: int) -> None:
        if length < _TINY:
            self._spend(self._control)
        full = self._limits.stream_window
        if stream.receive_window < full // 2:
            self._connection.sender.control(frames.window_update(stream.number, full - stream.receive_window))
            stream.receive_window = full

    def _require_known(self, number: int) -> None:
        if number > self.last_stream or number % 2 == 0:
            raise frames.ConnectionError(Code.PROTOCOL_ERROR, f"stream {number} was never opened")

    # Headers.

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            payload = frames.unpadded(flags, payload)
        ends = flags & frames.END_STREAM != 0
        if flags & frames.END_HEADERS:
            self._request(number, payload, ends)
            return
        self._pending = (number, ends)
        self._fragments = [payload]
        self._reader.expect(frames.CONTINUATION)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        opened, ends = self._pending
        if not self._fragments or number != opened:
            raise frames.ConnectionError(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._fragments.append(payload)
        size = sum(map(len, self._fragments))
        if len(self._fragments) > self._limits.continuations or size > self._limits.header_block:
            raise frames.ConnectionError(Code.ENHANCE_YOUR_CALM, "headers without end")
        if flags & frames.END_HEADERS:
            block = b"".join(self._fragments)
            self._fragments = []
            self._reader.expect(-1)
            self._request(number, block, ends)

    def _request(self, number: int, block: bytes, ends: bool) -> None:
        stream = self._connection.streams.get(number)
        if stream is not None:
            self._trailers(stream, block, ends)
        elif number % 2 == 0:
            raise frames.ConnectionError(Code.PROTOCOL_ERROR, f"a client must not open stream {number}")
        elif number <= self.last_stream:
            self._heads.skip(block)
            self._spend(self._control)
            self._connection.reset(number, Code.STREAM_CLOSED)
        else:
            self.last_stream = number
            self._open(number, block, ends)

    def _open(self, number: int, block: bytes, ends: bool) -> None:
        try:
            head = self._heads.read(block)
        except Malformed:
            self._spend(self._control)
            self._connection.reset(number, Code.PROTOCOL_ERROR)
            return
        if self._connection.takes_calls:
            self._connection.open_stream(number, head, ends)
        else:
            # A client knows of its own calls, but not of those that it gave up and that still run.
            if len(self._connection.streams) >= self._limits.streams:
                self._spend(self._control)
            self._connection.reset(number, Code.REFUSED_STREAM)

    def _trailers(self, stream: Stream, block: bytes, ends: bool) -> None:
        """The end of a request; gRPC's clients have nothing to say there."""
        self._heads.skip(block)
        if stream.half_closed or not ends:
            self._connection.reset(stream.number, Code.STREAM_CLOSED if stream.half_closed else Code.PROTOCOL_ERROR)
            return
        stream.end_of_request()

    # The rest.

    def _reset(self, flags: int, number: int, payload: bytes) -> None:
        _require_length(payload, 4)
        self._require_known(number)
        stream = self._connection.streams.get(number)
        if stream is not None:
            if time.monotonic() < stream.patient_until:
                self._spend(self._resets)
            self._connection.client_reset(number)
        else:
            self._spend(self._control)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise frames.ConnectionError(Code.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._spend(self._control)
        if flags & frames.ACK:
            _require_length(payload, 0)
            return
        if len(payload) % frames.SETTING.size:
            raise frames.ConnectionError(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        if not self.greeted:
            self.greeted = True
            self._reader.expect(-1)
        if len(payload) > _MAX_SETTINGS:
            raise frames.ConnectionError(Code.ENHANCE_YOUR_CALM, f"SETTINGS of {len(payload)} bytes")
        for name, value in dict(frames.SETTING.iter_unpack(payload)).items():
            self._set(name, value)
        self._connection.sender.control(frames.pack(frames.SETTINGS, frames.ACK, 0))

    def _set(self, name: int, value: int) -> None:
        sender = self._connection.sender
        if name == Setting.ENABLE_PUSH and value > 1:
            raise frames.ConnectionError(Code.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
        if name == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_SIZE <= value < 2**24:
                raise frames.ConnectionError(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value}")
            sender.frame = value
        if name == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_INTEGER:
                raise frames.ConnectionError(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value}")
            self._spend(self._control, len(self._connection.streams) // _WINDOWS_PER_FRAME)
            change = value - sender.initial
            sender.initial = value
            for stream in self._connection.streams.values():
                if not sender.widen_stream(stream, change):
                    raise frames.ConnectionError(Code.FLOW_CONTROL_ERROR, "a window overflows")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        _require_length(payload, 8)
        if number:
            raise frames.ConnectionError(Code.PROTOCOL_ERROR, "PING of a stream")
        if not flags & frames.ACK:
            self._spend(self._control)
            self._connection.sender.control(frames.pack(frames.PING, frames.ACK, 0, payload))
        elif payload == DRAIN_PING and self._connection.is_draining:
            self._connection.finish_drain()
        else:
            self._spend(self._control)

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        _require_length(payload, 4)
        increment = int.from_bytes(payload, "big") & frames.MAX_INTEGER
        if increment < _TINY:
            self._spend(self._control)
        if number == 0:
            if increment == 0:
                raise frames.ConnectionError(Code.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._connection.sender.widen(increment)
            return
        stream = self._connection.streams.get(number)
        if stream is None:
            self._require_known(number)
        elif increment == 0:
            self._connection.reset(number, Code.PROTOCOL_ERROR)
        elif not self._connection.sender.widen_stream(stream, increment):
            self._connection.reset(number, Code.FLOW_CONTROL_ERROR)


def _require_length(payload: bytes, length: int) -> None:
    if len(payload) != length:
        raise frames.ConnectionError(Code.FRAME_SIZE_ERROR, f"{len(payload)} bytes where {length} must be")
