"""HTTP: TensorFlow Serving's REST interface as an ASGI application, and the server that runs it.

POST /v1/models/M[/versions/N | /labels/L]:predict
GET  /v1/models/M[/versions/N | /labels/L]            status
GET  /v1/models/M[/versions/N | /labels/L]/metadata
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent import futures
from typing import Any, NamedTuple
from urllib.parse import unquote

import uvicorn
from google.protobuf import json_format

from serving import errors
from serving.server import rest_json
from serving.server.manager import Manager
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.server.services import model_status, signature_def_map

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:?]+)(?:/(?:versions/(?P<version>\d+)|labels/(?P<label>[^/:?]+)))?(?P<method>:predict|/metadata)?",
    re.IGNORECASE,
)


class Target(NamedTuple):
    """What a request's path names."""

    name: str
    version: int | None
    label: str | None
    method: str  # "", ":predict" or "/metadata"


def parse_path(verb: str, path: str) -> Target:
    """Takes a request line apart. Raises InvalidArgument."""
    if path.rstrip("/").lower() == "/v1/models":
        raise errors.InvalidArgument("Missing model name in request.")
    match = _PATH.fullmatch(path)
    method = (match["method"] or "").lower() if match else ""
    if not match or verb != ("POST" if method == ":predict" else "GET"):
        raise errors.InvalidArgument(f"Malformed request: {verb} {path}")
    version = int(match["version"]) if match["version"] else None
    if version is not None and version >= 2**63:
        raise errors.InvalidArgument(f"Failed to convert version: {match['version']} to numeric.")
    label = unquote(match["label"]) if match["label"] else None
    return Target(unquote(match["name"]), version, label, method)


class RestApp:
    """The ASGI application. Models run in threads of their own, so the event loop always answers."""

    def __init__(self, manager: Manager, *, threads: int) -> None:
        self._manager = manager
        self._pool = futures.ThreadPoolExecutor(threads, "rest")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        body = await _body(receive)
        path = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        loop = asyncio.get_running_loop()
        status, text = await loop.run_in_executor(self._pool, self._answer, scope["method"], path, body)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})

    def _answer(self, verb: str, path: str, body: bytes) -> tuple[int, bytes]:
        """HTTP status and JSON text."""
        if not path.lower().startswith("/v1/"):
            return 404, rest_json.error(f"Not found: {path}. The API is below /v1/models/.").encode()
        try:
            return 200, self._route(parse_path(verb, path), body).encode()
        except errors.ServingError as error:
            return error.http_status, rest_json.error(error.message).encode()
        except Exception as error:
            _log.exception("%s %s failed", verb, path)
            return 500, rest_json.error(f"{type(error).__name__}: {error}").encode()

    def _route(self, target: Target, body: bytes) -> str:
        if target.method == ":predict":
            return self._predict(target, body)
        if target.method == "/metadata":
            return self._metadata(target)
        message = model_status(self._manager, target.name, target.version)
        return json_format.MessageToJson(message, indent=1, always_print_fields_with_no_presence=True)

    def _predict(self, target: Target, body: bytes) -> str:
        document = rest_json.parse(body)
        with self._manager.lend(target.name, target.version, target.label) as lent:
            return predict(lent.servable, document)

    def _metadata(self, target: Target) -> str:
        with self._manager.lend(target.name, target.version, target.label) as lent:
            spec = {"name": lent.name, "signature_name": "", "version": str(lent.version)}
            signatures = json_format.MessageToDict(
                signature_def_map(lent), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        return rest_json.document({"model_spec": spec, "metadata": {"signature_def": signatures}})


def predict(servable: Servable, document: dict[str, Any]) -> str:
    """Answers the parsed body of a predict request with JSON text. Raises ServingError."""
    name = document.get("signature_name") or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        raise errors.InvalidArgument(f'Serving signature name: "{name}" not found in signature def')
    wanted = servable.signature(name).inputs
    if rest_json.is_row_format(document):
        return rest_json.predictions(servable.run(rest_json.inputs_by_row(document["instances"], wanted), name))
    return rest_json.columns(servable.run(rest_json.inputs_by_column(document["inputs"], wanted), name))


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


class RestServer:
    """The HTTP port, in a thread with an event loop of its own."""

    def __init__(self, manager: Manager, address: tuple[str, int], *, threads: int) -> None:
        """Binds (host, port; 0: a free one) without answering yet. Raises Unavailable if it is taken."""
        try:
            self._socket = socket.create_server(address, backlog=2048)
        except OSError as error:
            host, port = address
            raise errors.Unavailable(f"Cannot listen on {host}:{port} for REST: {error.strerror}.") from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            RestApp(manager, threads=threads),
            log_config=None,
            access_log=False,
            lifespan="off",
            http="httptools",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Answers from now on; the socket queues what comes before the loop runs."""
        self._thread.start()

    def stop(self, grace_seconds: float) -> None:
        """Takes no new requests and waits for those under way, up to `grace_seconds`."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
