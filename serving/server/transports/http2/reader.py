"""Bytes in: cuts what the socket brings into frames. The payload of DATA is passed on as it arrives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from serving.server.transports.http2 import frames
from serving.server.transports.http2.frames import Code
from serving.server.transports.http2.limits import Limits

Handler: TypeAlias = Callable[[int, int, bytes], None]
"""Takes flags, stream and payload of a frame."""

_HTTP_1 = re.compile(rb"(?!PRI )[A-Z]{3,20} ")


class Target(Protocol):
    """The stream that DATA is for."""

    def data(self, data: bytes, start: int, stop: int, last: bool) -> None:
        """A piece of its body: data[start:stop]."""

    def end_of_request(self) -> None:
        """Its body is complete."""


class FrameReader:
    """Calls the handler of each frame's type; of a DATA frame it asks `target_of(stream, length, flags)` whom it is for."""

    __slots__ = (
        "_expects",
        "_greeted",
        "_handlers",
        "_last",
        "_left",
        "_limits",
        "_rest",
        "_skip",
        "_target",
        "_target_of",
    )

    def __init__(
        self,
        limits: Limits,
        handlers: Sequence[Handler],
        target_of: Callable[[int, int, int], Target | None],
    ) -> None:
        self._limits = limits
        self._handlers = handlers
        self._target_of = target_of
        self._greeted = False
        self._rest = b""
        self._expects = -1
        # The DATA frame that is half here: for whom, bytes to come, padding to come, whether it ends the body.
        self._target: Target | None = None
        self._left = 0
        self._skip = 0
        self._last = False

    def expect(self, kind: int) -> None:
        """Only frames of this type may come next; -1: any."""
        self._expects = kind

    def read(self, data: bytes) -> None:
        """Takes what has arrived. Raises ConnectionError, NotHttp2."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position = 0
        if not self._greeted:
            position = self._greet(data)
        elif self._left or self._skip:
            position = self._more_data(data, 0)
        end = len(data)
        while end - position >= 9:
            word, flags, number = frames.HEADER.unpack_from(data, position)
            kind, length, start = word & 0xFF, word >> 8, position + 9
            number &= frames.MAX_INTEGER
            if kind != self._expects >= 0:
                raise frames.ConnectionError(Code.PROTOCOL_ERROR, f"a frame of type {self._expects} must come next")
            if length > self._limits.frame:
                raise frames.ConnectionError(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            if kind == frames.DATA:
                if start == end and flags & frames.PADDED and length:
                    break  # how much padding is not here yet
                position = self._begin_data(data, start, length, flags, number)
                continue
            stop = start + length
            if stop > end:
                if length > self._limits.header_block:
                    raise frames.ConnectionError(Code.ENHANCE_YOUR_CALM, f"{length} bytes that are no DATA")
                break
            if kind < len(self._handlers):
                self._handlers[kind](flags, number, data[start:stop])
            position = stop
        if position < end:
            self._rest = data[position:] if position else data

    def _greet(self, data: bytes) -> int:
        """Where frames begin, behind the preface; 0: there is more to come. Raises NotHttp2, ConnectionError."""
        preface = frames.PREFACE
        if data.startswith(preface):
            self._greeted = True
            self._expects = frames.SETTINGS
            return len(preface)
        if preface.startswith(data):
            self._rest = data
            return len(data)
        if _HTTP_1.match(data):
            raise frames.NotHttp2
        raise frames.ConnectionError(Code.PROTOCOL_ERROR, "no HTTP/2 preface")

    def _begin_data(self, data: bytes, start: int, length: int, flags: int, number: int) -> int:
        """Takes what is there of a DATA frame; returns where the next frame begins, at most the end of `data`."""
        target = self._target_of(number, length, flags)
        last = flags & frames.END_STREAM != 0
        padding = 0
        if flags & frames.PADDED:
            if not length:
                raise frames.ConnectionError(Code.FRAME_SIZE_ERROR, "padded, but empty")
            padding = data[start]
            start += 1
            length -= padding + 1
            if length < 0:
                raise frames.ConnectionError(Code.PROTOCOL_ERROR, "padding exceeds the frame")
        stop = start + length
        if not padding and stop <= len(data):
            if target is not None:
                target.data(data, start, stop, last)
            return stop
        self._target, self._left, self._skip, self._last = target, length, padding, last
        return self._more_data(data, start)

    def _more_data(self, data: bytes, position: int) -> int:
        stop = min(position + self._left, len(data))
        self._left -= stop - position
        if self._target is not None and stop > position:
            self._target.data(data, position, stop, False)
        if self._left:
            return stop
        skipped = min(self._skip, len(data) - stop)
        self._skip -= skipped
        if not self._skip:
            target, self._target = self._target, None
            if target is not None and self._last:
                target.end_of_request()
        return stop + skipped
