"""The transport: sockets, a loop in a thread of its own, and an orderly end."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Sequence

from serving.server.calls import Methods
from serving.server.security.tls import context
from serving.server.transports import Options
from serving.server.transports.http2.connection import Connection
from serving.server.transports.http2.limits import Limits, from_arguments
from serving.server.transports.http2.listening import Listening, listen
from serving.server.transports.http2.shared import Shared

try:
    import uvloop
except ImportError:  # it comes with the server, but not to every platform
    _new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    _new_loop = uvloop.new_event_loop

# How long stopping sleeps before it looks again whether calls are under way.
_GLANCE = 0.01


class Http2Transport:
    """gRPC over HTTP/2, without grpcio."""

    def __init__(
        self, methods: Methods, addresses: Sequence[str], options: Options | None = None, limits: Limits | None = None
    ) -> None:
        """Listens at `addresses`; clients wait until `start`. Raises Unavailable if one is taken, InvalidArgument."""
        options = options or Options()
        self._methods = methods
        self._options = options
        self._settings = from_arguments(limits or Limits(), options.max_request_bytes, options.channel_arguments)
        self._context = context(options.tls, "h2") if options.tls else None
        self._listening: list[Listening] = []
        try:
            for address in addresses:
                self._listening.append(listen(address, reuse_port=self._settings.reuse_port))
        except Exception:
            self._close_sockets()
            raise
        self.addresses: Sequence[str] = [each.address for each in self._listening]
        self._reading: threading.Thread | None = None

    def start(self) -> None:
        """Answers from now on."""
        self._loop = _new_loop()
        settings = self._settings
        self._shared = Shared(
            self._methods, settings.limits, settings.max_request_bytes, self._options.threads, self._loop
        )
        started = threading.Event()
        self._reading = threading.Thread(target=self._run, args=(started,), name="http2", daemon=True)
        self._reading.start()
        started.wait()

    def stop(self, grace_seconds: float) -> None:
        """Takes no new calls (UNAVAILABLE), finishes those under way for `grace_seconds`, then cancels the rest."""
        thread, self._reading = self._reading, None
        if thread is None:
            self._close_sockets()
            return
        asyncio.run_coroutine_threadsafe(self._drain(grace_seconds), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()
        self._shared.pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._servers = self._loop.run_until_complete(self._serve())
            self._sweep()
            self._loop.call_soon(started.set)
            self._loop.run_forever()
        finally:
            started.set()
            self._loop.close()

    async def _serve(self) -> list[asyncio.AbstractServer]:
        factory = functools.partial(Connection, self._shared)
        timeout = self._settings.limits.preface_seconds if self._context else None
        servers: list[asyncio.AbstractServer] = []
        for listening in self._listening:
            for listener in listening.sockets:
                serve = (
                    self._loop.create_unix_server if listening.address.startswith("unix:") else self._loop.create_server
                )
                servers.append(await serve(factory, sock=listener, ssl=self._context, ssl_handshake_timeout=timeout))
        return servers

    def _sweep(self) -> None:
        """Every second or so: looks after each connection."""
        now = time.monotonic()
        for connection in list(self._shared.connections):
            connection.look_after(now)
        self._shared.outbox.deliver()
        self._loop.call_later(self._settings.limits.sweep_seconds, self._sweep)

    async def _drain(self, grace_seconds: float) -> None:
        end = time.monotonic() + grace_seconds
        for server in self._servers:
            server.close()
        self._close_sockets()
        shared = self._shared
        shared.is_stopping = True
        for connection in list(shared.connections):
            connection.drain()
        shared.outbox.deliver()
        await self._until_none(lambda connection: connection.is_busy, end)
        for connection in list(shared.connections):
            connection.finish_drain()
            connection.cancel_all()
        shared.outbox.deliver()
        await self._until_none(lambda connection: True, time.monotonic() + self._settings.limits.linger_seconds)
        for connection in list(shared.connections):
            connection.abort()
        await asyncio.sleep(0)

    async def _until_none(self, is_awaited: Callable[[Connection], bool], end: float) -> None:
        """Returns once no connection is awaited, or at `end`."""
        while time.monotonic() < end and any(map(is_awaited, self._shared.connections)):
            await asyncio.sleep(_GLANCE)

    def _close_sockets(self) -> None:
        for listening in self._listening:
            listening.close()
        self._listening = []
