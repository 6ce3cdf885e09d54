"""TensorFlow Serving's REST interface as an ASGI application. It never blocks the event loop.

Beside it are additions: GET /v1/models lists the models, GET /v1/health/live and /v1/health/ready tell of the server.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from serving import errors
from serving.server import calls
from serving.server.calls import Call
from serving.server.rest import answers, bodies, control, examples, json_out, paths, predict
from serving.server.rest.client import Client, GoneError, Header, Receive, Send
from serving.server.rest.json_in import Document
from serving.server.rest.paths import Target
from serving.server.tracing import Span

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Headers = Mapping[str, str]
AnswerExamples = Callable[[control.Lent, str, Sequence[bytes], Call, Callable[[Any], None]], None]
"""(lent, signature name, serialized examples, call, done): `done` gets the result message, or a ServingError, once."""
Result = TypeVar("Result")

# Bigger bodies are parsed, and bigger answers written, beside the event loop.
INLINE_BYTES = 64 * 1024

_JSON, _TEXT, _HTML = b"application/json", b"text/plain", b"text/html"
_CORS: list[Header] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
_LIVE, _READY = "/v1/health/live", "/v1/health/ready"
_ORIGIN = re.compile(r"https?://")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_NOT_FOUND = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"


def _open_gate(call: Call) -> Callable[[], None]:
    return lambda: None


def _not_told(call: Call, api: str, status: str, seconds: float, error: str, received: int, sent: int) -> None:
    pass


@dataclass(frozen=True)
class Settings:
    """What the REST interface can be told."""

    timeout_seconds: float = 30.0
    """How long a model may take: longer is answered with 504 (`--rest_api_timeout_in_ms`)."""
    cors: bool = False
    """Whether scripts of any web page may read the answers (`--rest_api_enable_cors_support`)."""
    max_body_bytes: int = 2**31 - 1
    """Longer bodies are refused with 413 before they are received."""
    threads: int = 4
    """For what would keep the event loop busy."""
    metrics_path: str = "/monitoring/prometheus/metrics"
    metrics: Callable[[], str] | None = None
    """Makes the page at `metrics_path`; None: there is no such page."""
    check_predict: Callable[[Any], None] | None = None
    """May raise ServingError for the SignatureDef of a predict request."""
    gate: Callable[[Call], Callable[[], None]] = _open_gate
    """Admits a request before its body is read, or raises ServingError; what it returns is called when that is answered."""
    answered: Callable[[Call, str, str, float, str, int, int], None] = _not_told
    """Gets (call, "predict" | "classify" | "regress" | "", status as gRPC calls it, seconds, error text, bytes received and
    sent) of each answered request."""

    trace: Callable[[Call, str, str, str], Span] | None = None
    """Begins the trace of a request: gets (call, verb, path, form of the path)."""


@dataclass
class _Request:
    """One request under way."""

    verb: str
    path: str
    headers: Headers
    call: Call
    begin: float = field(default_factory=time.monotonic)
    api: str = ""
    received: int = 0
    """Bytes of the body."""
    span: Span | None = None


class _Response(NamedTuple):
    http_status: int
    body: bytes
    content_type: bytes = _JSON
    grpc_status: str = "OK"
    error: str = ""
    retry_seconds: float | None = None
    """When to try again, if that is known."""


def _is_open(request: _Request) -> bool:
    """Whether no gate is before a request: browsers ask for OPTIONS, and orchestrators for health, without a token."""
    return request.verb == "OPTIONS" or request.path.lower() in (_LIVE, _READY)


class RestApp:
    """The ASGI application."""

    def __init__(
        self, manager: control.Manager, classify: AnswerExamples, regress: AnswerExamples, settings: Settings
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._pool = futures.ThreadPoolExecutor(settings.threads, "rest")
        self._examples = {
            "classify": (classify, examples.classifications),
            "regress": (regress, examples.regressions),
        }
        self._ids = (f"{prefix}-{number:x}" for prefix in [os.urandom(6).hex()] for number in itertools.count(1))

    def close(self) -> None:
        """Lets the threads go."""
        self._pool.shutdown(wait=False)

    def _soon(self, action: Callable[[], None]) -> None:
        """For quick models; `submit` is called in the loop."""
        asyncio.get_running_loop().call_soon(action)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = self._request(scope)
        if self._settings.trace and not _is_open(request):
            path = request.path.partition("?")[0]
            request.span = self._settings.trace(request.call, request.verb, path, paths.route(request.path))
            request.call.span = request.span
        client = Client(request.headers, receive, send)
        try:
            response = await self._admitted(request, client)
        except GoneError:
            self._told(request, 499, "CANCELLED")
            return
        except asyncio.CancelledError:  # the time for what was under way when the server was stopped is over
            response = _refusal(errors.Unavailable("The server is stopping"))
        await self._send(request, response, client)
        self._told(request, response.http_status, response.grpc_status, response.error, len(response.body))

    def _request(self, scope: Scope) -> _Request:
        path = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not _REQUEST_ID.fullmatch(headers.get("x-request-id", "")):
            headers["x-request-id"] = next(self._ids)
        host, port = scope.get("client") or ("", 0)
        return _Request(scope["method"], path, headers, Call(peer=f"{host}:{port}", metadata=headers, soon=self._soon))

    async def _admitted(self, request: _Request, client: Client) -> _Response:
        """What to send. Raises GoneError if nobody is there to get it."""
        if _is_open(request):
            return await self._answer(request, client)
        try:
            leave = self._settings.gate(request.call)
        except errors.ServingError as error:
            return _refusal(error)
        try:
            return await self._answer(request, client)
        finally:
            leave()

    async def _answer(self, request: _Request, client: Client) -> _Response:
        try:
            if request.path.lower().startswith("/v1/"):
                return await self._api(request, client)
            return await self._page(request)
        except GoneError:
            raise
        except Exception as error:
            return _refusal(calls.as_serving_error(error, f"{request.verb} {request.path}"))

    async def _page(self, request: _Request) -> _Response:
        """What is outside the API: the metrics."""
        path, _, query = request.path.partition("?")
        metrics = self._settings.metrics
        if metrics is None or path != self._settings.metrics_path or request.verb != "GET":
            return _Response(404, _NOT_FOUND, _HTML, errors.NotFound.code.name)
        if query:
            text = f"Unexpected path: {request.path}. Should be {path}"
            return _Response(400, text.encode(), _TEXT, errors.InvalidArgument.code.name)
        return _Response(200, (await self._beside(metrics)).encode(), _TEXT)

    async def _api(self, request: _Request, client: Client) -> _Response:
        if request.verb == "OPTIONS":
            is_origin = _ORIGIN.search(request.headers.get("origin", ""))
            return _Response(200, b"") if is_origin else _Response(400, b"", grpc_status="INVALID_ARGUMENT")
        if request.verb == "GET" and (health := await self._health(request.path.lower())):
            return health
        target = paths.parse(request.verb, request.path)
        request.call.model = target.name
        if request.verb == "POST":
            request.api = target.method
            return _Response(200, await self._inference(request, target, client))
        return _Response(200, await self._beside(self._told_of, target))

    async def _health(self, path: str) -> _Response | None:
        if path == _LIVE:
            return _Response(200, control.liveness())
        if path == _READY:
            is_ready, body = await self._beside(control.readiness, self._manager)
            return _Response(200, body) if is_ready else _Response(503, body, grpc_status="UNAVAILABLE")
        return None

    def _told_of(self, target: Target) -> bytes:
        if target.method == "list":
            return control.listed(self._manager)
        if target.method == "status":
            return control.status(self._manager, target.name, target.version)
        lent = self._manager.borrow(target.name, target.version, target.label)
        try:
            return control.metadata(lent)
        finally:
            lent.release()

    async def _inference(self, request: _Request, target: Target, client: Client) -> bytes:
        body = await client.body(self._settings.max_body_bytes)
        request.received = len(body)
        request.call.deadline = time.monotonic() + self._settings.timeout_seconds
        is_packed = "gzip" in request.headers.get("content-encoding", "").lower()
        if is_packed:
            body = await self._beside(bodies.unpacked, body)
        size = len(body)
        if target.method == "predict":
            task = await self._by_size(
                size, predict.prepared, self._manager, self._settings.check_predict, target, body
            )
        else:
            task = await self._by_size(size, self._prepared_examples, target, body)
        request.call.version = task.lent.version
        result = await answers.awaited(task, request.call, client)
        return await self._by_size(predict.size_of(result), task.write, result)

    def _prepared_examples(self, target: Target, body: bytes) -> predict.Task:
        """Reads all examples before it looks the model up, as TensorFlow Serving does."""
        answer, write = self._examples[target.method]
        document = Document(body)
        name = document.signature_name
        serialized = examples.serialized(document)
        lent = self._manager.borrow(target.name, target.version, target.label)
        return predict.Task(lent, functools.partial(answer, lent, name, serialized), write)

    async def _by_size(self, size: int, function: Callable[..., Result], *arguments: Any) -> Result:
        return function(*arguments) if size < INLINE_BYTES else await self._beside(function, *arguments)

    async def _beside(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs `function` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _send(self, request: _Request, response: _Response, client: Client) -> None:
        headers: list[Header] = [
            (b"content-type", response.content_type),
            (b"x-request-id", request.call.request_id.encode("latin-1")),
        ]
        if response.http_status == errors.Unauthenticated.http_status:
            headers.append((b"www-authenticate", b"Bearer"))
        if response.retry_seconds is not None:
            headers.append((b"retry-after", str(math.ceil(response.retry_seconds)).encode()))
        if self._settings.cors and request.path.lower().startswith("/v1/"):
            headers += _CORS
        body = response.body
        if len(body) >= bodies.MIN_PACKED_BYTES and bodies.accepts_gzip(request.headers.get("accept-encoding", "")):
            body = await self._beside(bodies.packed, body)
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        await client.answer(response.http_status, headers, b"" if request.verb == "HEAD" else body)

    def _told(self, request: _Request, http_status: int, status: str, error: str = "", sent: int = 0) -> None:
        if request.span:
            request.span.model(request.call.model, request.call.version, request.call.signature)
            request.span.end(http_status, error)
        if request.path.lower().startswith("/v1/") and not _is_open(request):
            seconds = time.monotonic() - request.begin
            self._settings.answered(request.call, request.api, status, seconds, error, request.received, sent)


def _refusal(error: errors.ServingError) -> _Response:
    body = json_out.error(error.message)
    return _Response(error.http_status, body, _JSON, error.code.name, error.message, error.retry_seconds)
