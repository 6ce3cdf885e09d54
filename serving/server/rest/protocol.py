"""HTTP on one connection: uvicorn's protocol on httptools, with limits for clients that are slow or send endless headers."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Of request line and headers together, as many servers have it.
MAX_HEAD_BYTES = 64 * 1024
# When the server stops, a request on an idle connection may be on its way already; it has so long to arrive, seconds.
LAST_SECONDS = 0.25

_CLOSE = (b"connection", b"close")


class LimitedProtocol(HttpToolsProtocol):
    """Closes the connection of a client that does not get on.

    A head must come within `head_seconds` after its first byte, a new connection must bring one in the time that an idle
    one may wait, and a body must bring `min_body_bytes` in each `body_seconds`. Of an answer that does not fit into the
    system's buffers something must be taken in each `answer_seconds`.
    """

    head_seconds = 30.0
    body_seconds = 30.0
    min_body_bytes = 16 * 1024
    answer_seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._body_bytes = 0
        self._answer_timer: asyncio.TimerHandle | None = None
        self._is_last = False
        self._refusal = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait(self.timeout_keep_alive, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing more."""
        self._wait_no_more()
        self.resume_writing()
        super().connection_lost(exc)

    def _wait(self, seconds: float, then: Any) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(seconds, then)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Counts what belongs to a head before it is parsed."""
        if self._in_head:
            if not self._head_bytes:
                self._wait(self.head_seconds, self._give_up)
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"Request line and headers may have {MAX_HEAD_BYTES} bytes at most.")

    def on_headers_complete(self) -> None:
        """From now on it is the body that must get on."""
        self._in_head = False
        self._body_bytes = 0
        self._wait(self.body_seconds, self._check_body)
        if self._is_last:
            self.headers.append(_CLOSE)  # the answer says it too, so that the client sends nothing more
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1: it would take that for the answer
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and not self._is_last

    def on_body(self, body: bytes) -> None:
        """Counts what has come of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def _check_body(self) -> None:
        if self._body_bytes < self.min_body_bytes and not self.flow.read_paused:
            self._give_up()
            return
        self._body_bytes = 0
        self._wait(self.body_seconds, self._check_body)

    def on_message_complete(self) -> None:
        """The next head may begin."""
        self._wait_no_more()
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, and ends the connection; whole requests that came before it are answered first."""
        if self._is_idle() or self.cycle.more_body:
            super().send_400_response(msg)
        else:
            self._refusal = msg
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """The next request may begin."""
        super().on_response_complete()
        if self._refusal and self._is_idle() and not self.transport.is_closing():
            super().send_400_response(self._refusal)

    def pause_writing(self) -> None:
        """More is to be sent than the client takes."""
        super().pause_writing()
        self._check_answer(None)

    def _check_answer(self, left_before: int | None) -> None:
        left = self.transport.get_write_buffer_size()
        if left == left_before:
            self.transport.abort()
            return
        self._answer_timer = self.loop.call_later(self.answer_seconds, self._check_answer, left)

    def resume_writing(self) -> None:
        """The client has taken enough for now."""
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops: the request under way, or one that is about to arrive, is the last."""
        self._is_last = True
        if self._is_idle():
            self.loop.call_later(LAST_SECONDS, self._close_if_idle)
        else:
            self.cycle.scope["headers"].append(_CLOSE)  # type: ignore[attr-defined]
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle() and not self._head_bytes:
            self._give_up()
