"""The clients over HTTP, for threads and for asyncio: their calls are those of the clients over gRPC."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx

from serving import errors
from serving.client.aio import AsyncPredictClient
from serving.client.connection import DEFAULT_CONNECTION, Connection
from serving.client.core import DEFAULT_TIMEOUT, REST, Core
from serving.client.predict import PredictClient, Stop
from serving.client.rest.exchanges import Exchanges, Request, Response
from serving.client.retries import DEFAULT_RETRY, Retry
from serving.client.steps import Call, Failed

# Open connections that wait for the next call; there may be as many at work as there are callers.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)
# OSError: of TLS, what comes after the handshake is passed on by httpx as it is.
_FAILURES = (errors.ServingError, httpx.RequestError, OSError, asyncio.TimeoutError)


class RestPredictClient(PredictClient):
    """`PredictClient` over REST: the same methods with the same results and errors, slower; safe to use from many threads.

    What REST has no way for: `reload`, and inputs of float16, bfloat16, uint16 and complex types, raise Unimplemented;
    `version` of an answer is 0 unless the call names one; calls are not hedged; a `map` that is closed waits for the requests
    under way.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = DEFAULT_RETRY,
        connection: Connection = DEFAULT_CONNECTION,
        check: bool = True,
    ) -> None:
        """Connects at the first call.

        address: "http://host:port" or "https://host:port", and a path if a proxy has put the server below one.
        connection: TLS, token, gzip.  timeout, retry, check: as for `PredictClient`. Proxies are those of the environment
            (HTTPS_PROXY, NO_PROXY, ...).

        Raises ValueError for an address of another form, or settings that are gRPC's; OSError for a certificate's file that
        cannot be read.
        """
        self._core = _core(address, model, timeout, retry, connection, check)
        self._exchanges = Exchanges()
        self._wire = _Wire(address, connection)
        self._http = httpx.Client(base_url=address, **_options(connection))

    def close(self) -> None:
        """Closes the connections; calls under way in other threads come to their ends."""
        self._http.close()

    def _call(self, call: Call, stop: Stop | None) -> bytes | Failed:
        if self._http.is_closed:
            raise errors.Cancelled("This client is closed.")
        if stop and stop.is_over:
            raise errors.Cancelled("The call was cancelled.")
        end = time.monotonic() + call.seconds
        exchange = self._exchanges.of(call)
        try:
            request = next(exchange)
            while True:
                request = exchange.send(self._send(request, call, end))
        except StopIteration as done:
            answer: bytes = done.value
            return answer
        except _FAILURES as error:
            return _failed(error)

    def _send(self, request: Request, call: Call, end: float) -> Response:
        extensions = {**self._wire.extensions, "timeout": _Left(end)}
        with self._http.stream(**self._wire.arguments(request, call), extensions=extensions) as response:
            call.span.response(response.status_code)
            return Response(response.status_code, b"".join(_before(end, response.iter_bytes())))


class AsyncRestPredictClient(AsyncPredictClient):
    """`RestPredictClient` for asyncio: the same methods, to be awaited; an asynchronous context manager."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: Retry | None = DEFAULT_RETRY,
        connection: Connection = DEFAULT_CONNECTION,
        check: bool = True,
    ) -> None:
        """As `RestPredictClient`."""
        self._core = _core(address, model, timeout, retry, connection, check)
        self._exchanges = Exchanges()
        self._wire = _Wire(address, connection)
        self._http = httpx.AsyncClient(base_url=address, **_options(connection))

    async def close(self) -> None:
        """Closes the connections; calls under way are cancelled."""
        await self._http.aclose()

    async def _call(self, call: Call) -> bytes | Failed:
        if self._http.is_closed:
            raise errors.Cancelled("This client is closed.")
        try:
            return await asyncio.wait_for(self._exchange(call), call.seconds)
        except _FAILURES as error:
            return _failed(error)

    async def _exchange(self, call: Call) -> bytes:
        exchange = self._exchanges.of(call)
        try:
            request = next(exchange)
            while True:
                response = await self._http.request(
                    **self._wire.arguments(request, call), extensions=self._wire.extensions, timeout=None
                )
                call.span.response(response.status_code)
                request = exchange.send(Response(response.status_code, response.content))
        except StopIteration as done:
            answer: bytes = done.value
            return answer


class _Wire:
    """What httpx is told of each request."""

    def __init__(self, address: str, connection: Connection) -> None:
        url = urlsplit(address)
        self._traced = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl().rstrip("/")  # without a password
        self._gzip = connection.gzip
        name = connection.tls.server_name if connection.tls else None
        self.extensions: dict[str, Any] = {"sni_hostname": name} if name else {}

    def arguments(self, request: Request, call: Call) -> dict[str, Any]:
        headers, body = dict(call.metadata), request.body
        if body is not None:
            headers["content-type"] = "application/json"
        if body is not None and self._gzip:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=6)
        verb = "GET" if body is None else "POST"
        call.span.request(verb, self._traced + request.path)
        return {"method": verb, "url": request.path, "content": body, "headers": headers}


class _Left(dict[str, float]):
    """The timeouts that httpx looks up before each thing it waits for: what is left until the end."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self._end = end

    def get(self, kind: str, default: Any = None) -> float:
        return max(self._end - time.monotonic(), 1e-3)


def _before(end: float, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if time.monotonic() > end:
            raise httpx.ReadTimeout("The answer did not end in time.")
        yield chunk


def _failed(error: Exception) -> Failed:
    if isinstance(error, errors.ServingError):
        return Failed(error.code, error.message)
    if isinstance(error, (httpx.TimeoutException, asyncio.TimeoutError)):
        return Failed(grpc.StatusCode.DEADLINE_EXCEEDED, str(error) or type(error).__name__, error)
    return Failed(grpc.StatusCode.UNAVAILABLE, f"{type(error).__name__}: {error}", error)


def _core(address: str, model: str, timeout: float, retry: Retry | None, connection: Connection, check: bool) -> Core:
    _require_address(address, connection)
    return Core(
        address,
        model,
        timeout=timeout,
        retry=retry,
        hedge_after=None,
        connection=connection,
        check=check,
        protocol=REST,
    )


def _require_address(address: str, connection: Connection) -> None:
    url = urlsplit(address) if isinstance(address, str) else None
    if url is None or url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValueError(f"A REST server's address is one URL, such as http://localhost:8501. Received: {address!r}.")
    if connection.tls is not None and url.scheme == "http":
        raise ValueError(f"TLS goes to https:// addresses. Received: {address!r}.")
    if connection.interceptors or connection.service_config:
        raise ValueError("Interceptors and the service config are gRPC's: leave them out, or use PredictClient.")


def _options(connection: Connection) -> dict[str, Any]:
    verify = connection.tls.context() if connection.tls else True
    return {"verify": verify, "limits": _LIMITS}
