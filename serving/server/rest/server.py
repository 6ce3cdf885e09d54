"""The HTTP port: uvicorn in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence

import uvicorn

from serving import errors
from serving.server.rest.app import AnswerExamples, RestApp, Settings
from serving.server.rest.control import Manager
from serving.server.rest.protocol import LimitedProtocol

_log = logging.getLogger(__name__)

# How long a connection may stay open between requests, seconds.
IDLE_SECONDS = 75
BACKLOG = 2048
# For the last ones to set up TLS.
HANDSHAKE_SECONDS = 1.0


class _Server(uvicorn.Server):
    """Answers those too, as it stops, who wait to be accepted: to close the port is to reset their connections."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no new connections, and answers what there is."""
        waiting = [connection for listening in sockets or () for connection in _queued(listening)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        adopting = [loop.connect_accepted_socket(self._protocol, one, ssl=self.config.ssl) for one in waiting]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*adopting, return_exceptions=True), HANDSHAKE_SECONDS)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return LimitedProtocol(self.config, self.server_state, self.lifespan.state)


def _queued(listening: socket.socket) -> Iterator[socket.socket]:
    """No more than the queue has room for, or a flood would keep the server from stopping."""
    with contextlib.suppress(OSError):  # there are none left, or no file descriptors
        for _ in range(BACKLOG):
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection


class RestServer:
    """Serves the models of a manager over HTTP/1.1."""

    def __init__(
        self,
        manager: Manager,
        addresses: Sequence[tuple[str, int]],
        *,
        classify: AnswerExamples,
        regress: AnswerExamples,
        settings: Settings = Settings(),  # noqa: B008 - it is frozen
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Binds every (host, port; 0: a free one) without answering yet. Raises Unavailable if one is taken.

        "::" is all interfaces, those of IPv4 too, or these alone where there is no IPv6.
        """
        self._sockets = _bound(addresses)
        self.ports: list[int] = [listening.getsockname()[1] for listening in self._sockets]
        self._app = RestApp(manager, classify, regress, settings)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=LimitedProtocol,
            ws="none",
            server_header=False,
            proxy_headers=False,  # whoever asks could call itself by another address
            timeout_keep_alive=IDLE_SECONDS,
            backlog=BACKLOG,
        )
        config.load()
        config.ssl = tls
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    @property
    def port(self) -> int:
        """Of the first address."""
        return self.ports[0]

    def _run(self) -> None:
        self._server.run(sockets=self._sockets)

    def start(self) -> None:
        """Answers from now on; the sockets queue what comes before the loop runs."""
        self._thread.start()

    def stop(self, grace_seconds: float) -> None:
        """Takes no new requests and waits for those under way, up to `grace_seconds`."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        for listening in self._sockets:
            listening.close()
        self._app.close()


def _bound(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for host, port in addresses:
        try:
            sockets.append(_listening(host, port))
        except OSError as error:
            for other in sockets:
                other.close()
            reason = error.strerror or str(error)
            raise errors.Unavailable(f"Cannot listen on {host}:{port} for REST: {reason}.") from error
    return sockets


def _listening(host: str, port: int) -> socket.socket:
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::")
