"""What every request passes before it is looked at: who asks, and do they ask too much?

Probes of health pass freely: those who run containers cannot give them tokens. Metrics and reflection do not, since they tell
what is served.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
from collections.abc import Callable
from dataclasses import replace

from serving import errors
from serving.server.calls import Call, Incoming, Methods, Outgoing, Reply, Streaming, Unary
from serving.server.flags import Flags
from serving.server.security.limits import ConcurrencyLimit, RateLimit
from serving.server.security.tokens import Tokens

_log = logging.getLogger(__name__)

Leave = Callable[[], None]
"""Called once a request is answered; further calls do nothing."""

FREE = "/grpc.health.v1.Health/"


class Gate:
    """Tokens and limits, each of which may be absent. Safe to use from several threads."""

    def __init__(
        self,
        tokens: Tokens | None = None,
        rate: RateLimit | None = None,
        concurrency: ConcurrencyLimit | None = None,
    ) -> None:
        self._tokens = tokens
        self._rate = rate
        self._concurrency = concurrency
        self.is_open = not (tokens or rate is not None or concurrency is not None)
        """Whether everybody passes."""

    def admit(self, call: Call) -> Leave:
        """Lets a request in until what is returned is called. Raises Unauthenticated or ResourceExhausted."""
        client = self._client(call)
        if self._rate is not None:
            self._rate.take(client)
        if self._concurrency is None:
            return _nothing
        self._concurrency.take(client)
        return _once(functools.partial(self._concurrency.give_back, client))

    def _client(self, call: Call) -> str:
        if self._tokens is None:
            return client_of(call.peer)
        return self._tokens.client(call.metadata.get("authorization", ""))


def from_flags(flags: Flags) -> Gate:
    """The gate that the command line asks for. Raises InvalidArgument if the token file is not usable."""
    rest_is_plain = flags.rest_api_port is not None and not flags.rest_api_ssl
    if flags.auth_token_file and not flags.is_local and (rest_is_plain or not flags.ssl_config_file):
        _log.warning("Tokens travel readable for everyone on the way: pass --ssl_config_file and --rest_api_ssl")
    rate = flags.max_requests_per_second
    return Gate(
        Tokens(flags.auth_token_file) if flags.auth_token_file else None,
        RateLimit(rate, flags.max_request_burst) if rate else None,
        ConcurrencyLimit(flags.max_concurrent_requests) if flags.max_concurrent_requests else None,
    )


def client_of(peer: str) -> str:
    """The address of "address:port" that one client has; of IPv6 the network, since each owns as many addresses."""
    host = peer.rpartition(":")[0].strip("[]")
    if ":" not in host:
        return host or peer
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))


def gated(methods: Methods, gate: Gate) -> Methods:
    """The methods behind the gate; those of health stay free."""
    if gate.is_open:
        return methods
    return {
        path: method
        if path.startswith(FREE)
        else _unary(method, gate)
        if isinstance(method, Unary)
        else _stream(method, gate)
        for path, method in methods.items()
    }


def _unary(method: Unary, gate: Gate) -> Unary:
    def answer(request: bytes, call: Call, reply: Reply) -> None:
        leave = gate.admit(call)

        def leave_and_reply(result: bytes | errors.ServingError) -> None:
            # In this order: who sends the next request on getting the answer is not one too many.
            leave()
            reply(result)

        try:
            method.answer(request, call, leave_and_reply)
        except BaseException:
            leave()
            raise

    return replace(method, answer=answer)


def _stream(method: Streaming, gate: Gate) -> Streaming:
    def open_stream(call: Call, outgoing: Outgoing) -> Incoming:
        leave = gate.admit(call)
        call.on_cancel(leave)
        try:
            return _Entered(method.open(call, _Leaving(outgoing, leave)), leave)
        except BaseException:
            leave()
            raise

    return replace(method, open=open_stream)


class _Leaving:
    """The server's side of a stream; its end gives the place back."""

    def __init__(self, outgoing: Outgoing, leave: Leave) -> None:
        self.send = outgoing.send
        self._close = outgoing.close
        self._leave = leave

    def close(self, error: errors.ServingError | None = None) -> None:
        self._leave()
        self._close(error)


class _Entered:
    """The client's side; what it raises ends the stream too."""

    def __init__(self, incoming: Incoming, leave: Leave) -> None:
        self._incoming = incoming
        self._leave = leave

    def received(self, message: bytes) -> None:
        self._or_leave(functools.partial(self._incoming.received, message))

    def half_closed(self) -> None:
        self._or_leave(self._incoming.half_closed)

    def _or_leave(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self._leave()
            raise


def _nothing() -> None:
    """For those who hold no place."""


def _once(action: Leave) -> Leave:
    actions = [action]

    def leave() -> None:
        try:
            last = actions.pop()  # one operation: two threads cannot both get it
        except IndexError:
            return
        last()

    return leave
