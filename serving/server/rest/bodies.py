"""Bodies on the wire: requests that came compressed, and answers that go so."""

from __future__ import annotations

import gzip
import zlib

from serving import errors

# Beyond this, what unpacks from a request is not taken.
MAX_UNPACKED_BYTES = 100 * 2**20
# Smaller answers are not worth packing.
MIN_PACKED_BYTES = 32 * 1024

_GZIP = zlib.MAX_WBITS | 16


class TooLarge(errors.ResourceExhausted):
    """A body is larger than allowed (HTTP 413)."""

    http_status = 413


def unpacked(body: bytes, limit: int = MAX_UNPACKED_BYTES) -> bytes:
    """The content of a gzip body; never holds more than `limit` bytes. Raises TooLarge, InvalidArgument."""
    content = bytearray()
    while body:
        member = zlib.decompressobj(_GZIP)
        try:
            content += member.decompress(body, limit - len(content) + 1)
        except zlib.error as error:
            raise errors.InvalidArgument(f"The body is not gzip as its Content-Encoding says: {error}.") from None
        if len(content) > limit:
            raise TooLarge(f"The body unpacks to more than {limit} bytes.")
        if not member.eof:
            raise errors.InvalidArgument("The body ends before its gzip content does.")
        body = member.unused_data
    return bytes(content)


def packed(body: bytes) -> bytes:
    """The body as gzip, quickly rather than small."""
    return gzip.compress(body, compresslevel=1, mtime=0)


def accepts_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header asks for gzip."""
    for choice in accepted.lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
