"""gRPC's messages: five bytes that tell compression and length, then the message."""

from __future__ import annotations

import struct
import zlib

from serving import errors
from serving.server.transports.http2.limits import Budget

PREFIX = struct.Struct(">BI")
# What a piece costs beside its bytes, so that many tiny pieces are not free.
_PIECE_COST = 64
# A piece of at least this part of what was read at once is not copied: 16 KB, clients' usual frame, of 256 KB.
_GOOD_PART = 16
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class Assembler:
    """Puts messages together from the pieces that DATA frames bring."""

    __slots__ = (
        "_budget",
        "_flag",
        "_held_complete",
        "_held_partial",
        "_limit",
        "_missing",
        "_pieces",
        "_prefix",
        "_read",
    )

    def __init__(self, limit: int, budget: Budget) -> None:
        self._limit = limit
        self._budget = budget
        self._prefix = b""
        self._read: bytes | None = None
        self._pieces: list[bytes | memoryview] = []
        self._flag = 0
        self._missing = -1  # the prefix is not complete
        self._held_partial = 0
        self._held_complete = 0

    @property
    def is_between_messages(self) -> bool:
        """Whether no message is half here."""
        return self._missing < 0 and not self._prefix

    def feed(self, data: memoryview) -> list[tuple[int, bytes]]:
        """Takes a piece; returns the messages that it completes, each with its compression flag. Raises ServingError."""
        complete: list[tuple[int, bytes]] = []
        while len(data) or self._missing == 0:
            if self._missing < 0:
                data = self._begin(data)
                continue
            piece, data = data[: self._missing], data[self._missing :]
            self._keep(piece)
            if self._missing == 0:
                complete.append((self._flag, b"".join(self._pieces)))
                self._pieces = []
                self._read = None
                self._missing = -1
                self._held_complete += self._held_partial
                self._held_partial = 0
        return complete

    def release_complete(self) -> None:
        """The messages that were complete are needed no more."""
        self._budget.give_back(self._held_complete)
        self._held_complete = 0

    def release(self) -> None:
        """Nothing is needed any more."""
        self._budget.give_back(self._held_complete + self._held_partial)
        self._held_complete = self._held_partial = 0
        self._pieces = []
        self._read = None

    def _begin(self, data: memoryview) -> memoryview:
        needed = PREFIX.size - len(self._prefix)
        self._prefix += bytes(data[:needed])
        if len(self._prefix) < PREFIX.size:
            return data[needed:]
        self._flag, self._missing = PREFIX.unpack(self._prefix)
        self._prefix = b""
        require_size(self._missing, self._limit)
        if self._flag > 1:
            raise errors.Internal(f"Bad compression flag {self._flag} of a message")
        return data[needed:]

    def _keep(self, piece: memoryview) -> None:
        """Without copying it, if it is a good part of what was read at once; what that keeps in memory is counted."""
        self._missing -= len(piece)
        read = piece.obj
        if read is self._read:
            self._take(_PIECE_COST)
            self._pieces.append(piece)
        elif isinstance(read, bytes) and len(piece) * _GOOD_PART >= len(read):
            self._take(len(read) + _PIECE_COST)
            self._read = read
            self._pieces.append(piece)
        else:
            self._take(len(piece) + _PIECE_COST)
            self._pieces.append(bytes(piece))

    def _take(self, cost: int) -> None:
        if not self._budget.take(cost):
            raise errors.ResourceExhausted("The server holds too many large requests at once; try again later")
        self._held_partial += cost


def require_size(size: int, limit: int) -> None:
    """Raises ResourceExhausted."""
    if size > limit:
        raise errors.ResourceExhausted(f"Received message larger than max ({size} vs. {limit})")


def decompressed(message: bytes, encoding: str, limit: int) -> bytes:
    """The message itself; never makes more than `limit` bytes of it. Raises ServingError."""
    if encoding not in _WINDOW_BITS:
        raise errors.Internal("A message is compressed, but the call has no grpc-encoding")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = inflater.decompress(message, limit + 1)
    except zlib.error as error:
        raise errors.Internal(f"A message is not in {encoding} format") from error
    require_size(len(plain), limit)
    if not inflater.eof or inflater.unused_data:
        raise errors.Internal(f"A message is not in {encoding} format")
    return plain


def gzipped(message: bytes) -> bytes:
    """For clients that compress: fast rather than small."""
    deflater = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS["gzip"])
    return deflater.compress(message) + deflater.flush()
