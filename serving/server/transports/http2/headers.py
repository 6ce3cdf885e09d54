"""HPACK in: from a block of header bytes to who calls what."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import hpack
from hpack.table import HeaderTable

from serving import errors
from serving.server.calls import Methods, Streaming, Unary
from serving.server.transports.http2 import frames, responses
from serving.server.transports.http2.frames import Code

# What is remembered of a client: enough for its few methods, little enough for 10,000 clients.
_MEMO_ENTRIES = 16
_MEMO_BLOCK = 256
_MEMO_LIST = 1024

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PSEUDO = {b":method", b":scheme", b":path", b":authority"}
_OF_CONNECTIONS = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
_OF_PROTOCOL = {"content-type", "te", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "content-length"}


class Malformed(Exception):  # noqa: N818  the RFC's word
    """The headers are no request of HTTP/2."""


@dataclass(frozen=True)
class Head:
    """What the headers of a request say. Shared by all requests with the same headers: never change it."""

    method: Unary | Streaming | None
    """None: `refusal` tells why."""
    refusal: bytes
    """Header block of the answer, if headers alone decide it."""
    timeout: float | None
    """Seconds."""
    metadata: Mapping[str, str]
    encoding: str
    accepts_gzip: bool


class _Table(HeaderTable):
    """HPACK's dynamic table, which tells when it has changed."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class HeadReader:
    """Reads the header blocks of one connection.

    A client sends the same few bytes for each of its requests, once its table has been filled. The same bytes mean the
    same headers as long as the table has not changed, so they are looked up, which is 20 times faster than reading them.
    """

    __slots__ = ("_decoder", "_limit", "_memo", "_methods", "_table")

    def __init__(self, methods: Methods, header_list: int, header_block: int) -> None:
        self._methods = methods
        self._limit = header_list
        self._decoder = hpack.Decoder(header_block)
        self._table = self._decoder.header_table = _Table()
        self._memo: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """Raises Malformed; and ConnectionError if the table is lost."""
        return self._memo.get(block) or self._read(block)

    def _read(self, block: bytes) -> Head:
        changes = self._table.changes
        pairs = self.skip(block)
        size = sum(len(name) + len(value) + 32 for name, value in pairs)
        head = self._too_large(size) if size > self._limit else head_of(pairs, self._methods)
        if changes == self._table.changes and len(block) <= _MEMO_BLOCK and size <= _MEMO_LIST:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            self._memo[block] = head
        return head

    def skip(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Decodes a block, for the table's sake. Raises ConnectionError."""
        changes = self._table.changes
        try:
            pairs = [(pair[0], pair[1]) for pair in self._decoder.decode(block, raw=True)]
        except hpack.OversizedHeaderListError as error:
            raise frames.ConnectionError(Code.ENHANCE_YOUR_CALM, "too many headers") from error
        except Exception as error:
            raise frames.ConnectionError(Code.COMPRESSION_ERROR, "header block cannot be read") from error
        if changes != self._table.changes or (block[:1] and block[0] & 0xE0 == 0x20):
            self._memo.clear()
        return pairs

    def _too_large(self, size: int) -> Head:
        return _refused(
            responses.failed_at_once(
                errors.ResourceExhausted(f"received metadata size exceeds hard limit ({size} vs. {self._limit})")
            )
        )


def _refused(block: bytes) -> Head:
    return Head(None, block, None, {}, "identity", False)


def head_of(pairs: Iterable[tuple[bytes, bytes]], methods: Methods) -> Head:
    """What a list of headers says. Raises Malformed."""
    pseudo, fields = _sorted_out(pairs)
    if b":method" not in pseudo or not pseudo.get(b":path") or b":scheme" not in pseudo:
        raise Malformed
    content_type = fields.get("content-type", "")
    if not _is_grpc(content_type):
        return _refused(responses.http_status(415, "content-type must be application/grpc"))
    if pseudo[b":method"] != b"POST":
        return _refused(responses.http_status(405, "the method must be POST"))
    method = methods.get(pseudo[b":path"].decode("latin-1"))
    if method is None:
        return _refused(responses.failed_at_once(errors.Unimplemented("Method not found!")))
    try:
        timeout = _seconds(fields["grpc-timeout"]) if "grpc-timeout" in fields else None
        metadata = {name: _value(name, value) for name, value in fields.items() if name not in _OF_PROTOCOL}
    except ValueError as error:
        return _refused(responses.failed_at_once(errors.Internal(str(error))))
    encoding = fields.get("grpc-encoding", "identity")
    if encoding not in ("identity", "gzip", "deflate"):
        problem = errors.Unimplemented(f"Compression algorithm '{encoding}' is not supported")
        return _refused(responses.failed_at_once(problem))
    accepted = {name.strip() for name in fields.get("grpc-accept-encoding", "").split(",")}
    return Head(method, b"", timeout, metadata, encoding, "gzip" in accepted)


def _sorted_out(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], dict[str, str]]:
    """Pseudo headers and others, as RFC 9113 section 8.2 allows them. Raises Malformed."""
    pseudo: dict[bytes, bytes] = {}
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith(b":"):
            if fields or name in pseudo or name not in _PSEUDO:
                raise Malformed
            pseudo[name] = value
            continue
        if not name or name != name.lower() or name in _OF_CONNECTIONS or b"\n" in value or b"\0" in value:
            raise Malformed
        key, text = name.decode("latin-1"), value.decode("latin-1")
        fields[key] = f"{fields[key]},{text}" if key in fields else text
    return pseudo, fields


def _is_grpc(content_type: str) -> bool:
    return content_type.startswith("application/grpc") and content_type[16:17] in ("", "+", ";")


def _seconds(timeout: str) -> float:
    digits, unit = timeout[:-1], timeout[-1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8 and unit in _UNITS):
        raise ValueError(f"grpc-timeout must be up to 8 digits and a unit of HMSmun, not {timeout!r}")
    return int(digits) * _UNITS[unit]


def _value(name: str, value: str) -> str:
    """Binary headers have a character for each byte."""
    if not name.endswith("-bin"):
        return value
    try:
        parts = [base64.b64decode(part + "=" * (-len(part) % 4), validate=True) for part in value.split(",")]
    except binascii.Error as error:
        raise ValueError(f"header {name} is not base64") from error
    return b",".join(parts).decode("latin-1")
