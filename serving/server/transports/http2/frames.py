"""The frames of HTTP/2 (RFC 9113): numbers, and how they are packed."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_INTEGER: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_SIZE: Final = 16_384

# Length (24 bits) and type (8 bits) together, flags, stream.
HEADER = struct.Struct(">IBI")
SETTING = struct.Struct(">HI")

# Types of frames.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

# Flags.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20


class Setting(IntEnum):
    """Names of settings."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


class ConnectionError(Exception):  # noqa: A001  the RFC's name
    """The client broke a rule in a way that ends its connection."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class NotHttp2(Exception):  # noqa: N818
    """The client speaks something else."""


def pack(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, number) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return pack(SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in values.items()))


def reset(number: int, code: Code) -> bytes:
    """A RST_STREAM frame."""
    return pack(RST_STREAM, 0, number, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: Code, text: str = "") -> bytes:
    """A GOAWAY frame; streams up to `last_stream` are or will be answered."""
    return pack(GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + text.encode())


def window_update(number: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return pack(WINDOW_UPDATE, 0, number, increment.to_bytes(4, "big"))


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a HEADERS frame without padding and priority. Raises ConnectionError."""
    start, end = 0, len(payload)
    if flags & PADDED:
        start, end = 1, end - (payload[0] if payload else 0)
    if flags & WITH_PRIORITY:
        start += 5
    if start > end or (flags & PADDED and not payload):
        raise ConnectionError(Code.PROTOCOL_ERROR, "padding exceeds the frame")
    return payload[start:end]
