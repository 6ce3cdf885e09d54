"""The other end of a request, as ASGI has it: its body comes in parts, and it may be gone at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from serving.server.rest import bodies

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

# How much of a body that nobody wants is let in rather than close the connection.
HARMLESS_BYTES = 64 * 1024
# How long what a refused client still sends is thrown away, so that it gets to read why; seconds.
LINGER_SECONDS = 2.0


class GoneError(Exception):
    """The client has closed its connection."""


class Client:
    """Who sent a request."""

    def __init__(self, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        """headers: of the request, by name in lower case."""
        self._receive = receive
        self._send = send
        self._announced = int(headers.get("content-length", "0"))
        self._is_read = not self._announced and "transfer-encoding" not in headers
        self._is_harmless = "expect" not in headers and 0 < self._announced <= HARMLESS_BYTES

    async def body(self, limit: int) -> bytes:
        """All of the request's body. Raises TooLarge as soon as it is known to be, GoneError if it does not come."""
        if self._announced > limit:
            raise _too_large(limit)
        parts, size = [], 0
        while not self._is_read:
            part = await self._part()
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
        return b"".join(parts)

    async def _part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        self._is_read = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def gone(self) -> None:
        """Returns once the client has closed its connection; the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, http_status: int, headers: list[Header], body: bytes) -> None:
        """Sends the whole answer, and closes the connection if the request is longer than was wanted."""
        headers.append((b"content-length", str(len(body)).encode()))
        if self._is_read or self._is_harmless:
            await self._send({"type": "http.response.start", "status": http_status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})
            return
        headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": http_status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await self._throw_away()
        await self._send({"type": "http.response.body", "body": b""})

    async def _throw_away(self) -> None:
        """Reads on for a while: a connection closed on a client that still sends would take the answer away from it."""
        end = time.monotonic() + LINGER_SECONDS
        while not self._is_read and (left := end - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self._part(), left)
            except (asyncio.TimeoutError, GoneError):
                return


def _too_large(limit: int) -> bodies.TooLarge:
    return bodies.TooLarge(f"The body of a request may have {limit} bytes at most.")
