"""The header blocks of answers. They use no dynamic table, so the same bytes serve every client."""

from __future__ import annotations

import re
import struct

import grpc

from serving import errors
from serving.server.calls import cut
from serving.server.transports.http2 import frames

_UNPRINTABLE = re.compile(rb"[^ -$&-~]")
ENCODINGS = b"identity,deflate,gzip"


def literal(name: bytes, value: bytes) -> bytes:
    """A header in HPACK, as it is and not to be remembered."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, prefix = len(text) - 127, bytearray(b"\x7f")
    while rest >= 128:
        prefix.append(rest & 127 | 128)
        rest >>= 7
    return bytes(prefix) + bytes([rest]) + text


_STATUS_200 = b"\x88"  # a row of HPACK's static table
_CONTENT_TYPE = literal(b"content-type", b"application/grpc")
OK_HEADERS = _STATUS_200 + _CONTENT_TYPE
GZIP_HEADERS = OK_HEADERS + literal(b"grpc-encoding", b"gzip")
OK_TRAILERS = literal(b"grpc-status", b"0")


def trailers(error: errors.ServingError | None) -> bytes:
    """How a call ended."""
    if error is None:
        return OK_TRAILERS
    status = literal(b"grpc-status", str(error.code.value[0]).encode())
    text = _UNPRINTABLE.sub(lambda found: b"%%%02X" % found[0][0], cut(error.message).encode("utf-8", "replace"))
    advice = literal(b"grpc-accept-encoding", ENCODINGS) if error.code is grpc.StatusCode.UNIMPLEMENTED else b""
    return status + literal(b"grpc-message", text) + advice


def failed_at_once(error: errors.ServingError) -> bytes:
    """Headers and trailers in one, for a call that has no answer."""
    return OK_HEADERS + trailers(error)


def http_status(status: int, text: str) -> bytes:
    """For what is not gRPC at all."""
    return (
        b"\x08"
        + _string(str(status).encode())
        + literal(b"grpc-status", b"2")
        + literal(b"grpc-message", text.encode())
    )


_SORRY = b"This port speaks gRPC over HTTP/2 only.\n"
NOT_GRPC = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_SORRY), _SORRY)
)

# A small answer in two pieces around its message: headers, the head of the DATA frame, and the message's own length ...
_FIRST = struct.Struct(f">IBI{len(OK_HEADERS)}sIBIBI")
_LAST = struct.Struct(f">IBI{len(OK_TRAILERS)}s")
_HEADERS_WORD = len(OK_HEADERS) << 8 | frames.HEADERS
_TRAILERS_WORD = len(OK_TRAILERS) << 8 | frames.HEADERS
_TRAILERS_FLAGS = frames.END_HEADERS | frames.END_STREAM


def before(number: int, length: int) -> bytes:
    """What comes before a message that fits into one frame."""
    return _FIRST.pack(_HEADERS_WORD, frames.END_HEADERS, number, OK_HEADERS, (length + 5) << 8, 0, number, 0, length)


def after(number: int) -> bytes:
    """What comes after the last message of a call that went well."""
    return _LAST.pack(_TRAILERS_WORD, _TRAILERS_FLAGS, number, OK_TRAILERS)
