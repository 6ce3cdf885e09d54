"""gRPC's own library as a transport: complete, and the reference that others are measured by.

A request holds a thread until it is answered, so there are as many as requests may wait.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc

from serving import errors
from serving.server.calls import Call, Methods, Outgoing, Streaming, Unary, answer, as_serving_error, cut
from serving.server.transports import Options, Tls

# Within this time what is on its way has reached its handler, or its caller waits for an answer.
DOOR_SECONDS = 0.25
# Calls that may wait for a thread.
MAX_PENDING = 20_000


class GrpcioTransport:
    """A `Transport`. Raises Unavailable from the constructor if an address cannot be listened on."""

    def __init__(self, methods: Methods, addresses: Sequence[str], options: Options) -> None:
        self._door = _Door()
        self._streams = _Streams()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(options.threads, "grpc"),
            handlers=[_Handlers(methods, self._streams)],
            interceptors=[self._door],
            options=_settings(options),
        )
        self.addresses: Sequence[str] = [self._bind(address, options.tls) for address in addresses]

    def start(self) -> None:
        """Answers from now on."""
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Turns new calls away and waits for those under way, up to `grace_seconds`."""
        self._door.close()
        threading.Event().wait(min(DOOR_SECONDS, grace_seconds))
        stopped = self._server.stop(grace_seconds)
        self._door.turn_away()
        self._streams.end()
        stopped.wait()

    def _bind(self, address: str, tls: Tls | None) -> str:
        try:
            port = (
                self._server.add_secure_port(address, _credentials(tls))
                if tls
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise errors.Unavailable(
                f"Cannot listen on {address} for gRPC: the port is taken or not allowed."
            ) from error
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _settings(options: Options) -> list[tuple[str, int | str]]:
    limit = -1 if options.max_request_bytes >= 2**31 - 1 else options.max_request_bytes
    return [
        # Without this a second server on the same port would start, and get half of the requests.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", -1),
        # Else gRPC cancels calls, at random, when 1,000 wait for a thread.
        ("grpc.server.max_pending_requests", MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING),
        *options.channel_arguments,
    ]


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.server_key, tls.server_cert)], tls.custom_ca or None, require_client_auth=tls.client_verify
    )


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the method of a call; bytes go in and out as they are."""

    def __init__(self, methods: Methods, streams: _Streams) -> None:
        self._handlers = {path: _handler(method, streams) for path, method in methods.items()}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(details.method)


def _handler(method: Unary | Streaming, streams: _Streams) -> grpc.RpcMethodHandler:
    if isinstance(method, Unary):
        return grpc.unary_unary_rpc_method_handler(_unary(method))
    return grpc.stream_stream_rpc_method_handler(_streaming(method, streams))


def _unary(method: Unary) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def behaviour(request: bytes, context: grpc.ServicerContext) -> bytes:
        call = call_of(context)
        replies: list[bytes | errors.ServingError] = []
        replied = threading.Lock()
        replied.acquire()

        def reply(result: bytes | errors.ServingError) -> None:
            replies.append(result)
            replied.release()

        answer(method, request, call, reply)
        replied.acquire()
        result = replies[0]
        if isinstance(result, errors.ServingError):
            context.abort(result.code, cut(result.message))
            raise result  # abort always raises; this is for the type checker
        return result

    return behaviour


def call_of(context: grpc.ServicerContext) -> Call:
    """What gRPC knows of the request that it hands over, which may be over already."""
    seconds = context.time_remaining()
    metadata = {
        key: value if isinstance(value, str) else value.decode("latin-1")
        for key, value in context.invocation_metadata()
    }
    call = Call(
        peer=_peer(context.peer()), deadline=None if seconds is None else time.monotonic() + seconds, metadata=metadata
    )
    # Also called when the call ends well; nobody asks it any more then.
    if not context.add_callback(call.cancel):
        call.cancel()
    return call


def _peer(text: str) -> str:
    """The address in gRPC's "ipv4:127.0.0.1:4711"."""
    return text if text.startswith("unix:") else text.partition(":")[2]


class _Outgoing:
    """A stream's messages on their way to the thread that gRPC takes them from."""

    END = object()

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, message: bytes) -> None:
        self._messages.put(message)

    def close(self, error: errors.ServingError | None = None) -> None:
        self._messages.put(error or self.END)

    def __iter__(self) -> Iterator[bytes | errors.ServingError]:
        while (message := self._messages.get()) is not self.END:
            yield message
            if isinstance(message, errors.ServingError):
                return


class _Streams:
    """Those that are open: they may go on for ever, so a server that stops does not wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[_Outgoing] = set()
        self._is_over = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[_Outgoing]:
        """A stream that is open in the block."""
        stream = _Outgoing()
        with self._lock:
            self._open.add(stream)
            is_late = self._is_over
        if is_late:
            stream.close(errors.Unavailable("The server is stopping"))
        try:
            yield stream
        finally:
            with self._lock:
                self._open.discard(stream)

    def end(self) -> None:
        """Ends all of them, with UNAVAILABLE."""
        with self._lock:
            self._is_over = True
            streams = list(self._open)
        for stream in streams:
            stream.close(errors.Unavailable("The server is stopping"))


def _streaming(
    method: Streaming, streams: _Streams
) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
    def behaviour(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        call = call_of(context)
        with streams.opened() as stream:
            call.on_cancel(stream.close)
            arguments = (method, requests, call, stream)
            threading.Thread(target=_read, args=arguments, name="grpc-stream", daemon=True).start()
            for message in stream:
                if isinstance(message, errors.ServingError):
                    context.abort(message.code, cut(message.message))
                else:
                    yield message

    return behaviour


def _read(method: Streaming, requests: Iterator[bytes], call: Call, stream: Outgoing) -> None:
    """Hands the client's messages to the method, in a thread of its own since gRPC's iterator blocks."""
    try:
        incoming = method.open(call, stream)
        with contextlib.suppress(grpc.RpcError):
            for message in requests:
                incoming.received(message)
        incoming.half_closed()
    except Exception as error:
        stream.close(as_serving_error(error, method.path))


class _Door(grpc.ServerInterceptor):  # type: ignore[misc]
    """Holds new requests back while the server begins to stop, and then turns them away.

    What has reached gRPC when it is told to stop, but no handler yet, it would drop with CANCELLED, which no client may
    retry. So first every request gets a handler that waits; once the stop has begun, they all answer UNAVAILABLE.
    """

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._turn_away = grpc.unary_unary_rpc_method_handler(self._refuse)

    def close(self) -> None:
        """From now on new requests wait."""
        self._closing.set()

    def turn_away(self) -> None:
        """Those that wait are refused."""
        self._closed.set()

    def intercept_service(self, continuation: Callable[[Any], Any], details: grpc.HandlerCallDetails) -> Any:
        """Chooses the handler of a request; gRPC calls it for each."""
        if self._closing.is_set() and details.method.startswith("/tensorflow.serving."):
            return self._turn_away
        return continuation(details)

    def _refuse(self, request: bytes, context: grpc.ServicerContext) -> None:
        self._closed.wait()
        context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping")
