"""From addresses, as gRPC spells them, to listening sockets."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass, field
from pathlib import Path

from serving import errors

_BACKLOG = 1024
# Without a packet, before the client's machine is asked whether it still lives.
_KEEPALIVE_SECONDS = 120
_ANY = {"0.0.0.0", "::", "*", ""}


@dataclass
class Listening:
    """An address and its sockets; a name may stand for an IPv4 and an IPv6 address."""

    address: str
    sockets: list[socket.socket] = field(default_factory=list)
    path: str = ""
    """The socket's file."""

    def close(self) -> None:
        """Stops listening; a socket's file is removed."""
        for listener in self.sockets:
            listener.close()
        if self.path:
            Path(self.path).unlink(missing_ok=True)


def listen(address: str, *, reuse_port: bool) -> Listening:
    """Listens at "host:port", "[::1]:port" or "unix:/path". Raises InvalidArgument, or Unavailable if it is taken."""
    try:
        if address.startswith("unix:"):
            return _listen_unix(address)
        host, port = split(address)
        return _listen_tcp(host, port, reuse_port)
    except OSError as error:
        reason = "the port is taken or not allowed" if error.errno in _TAKEN else (error.strerror or str(error))
        raise errors.Unavailable(f"Cannot listen on {address} for gRPC: {reason}.") from error


_TAKEN = (errno.EADDRINUSE, errno.EACCES, errno.EPERM)


def split(address: str) -> tuple[str, int]:
    """Host and port. Raises InvalidArgument."""
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise errors.InvalidArgument(f"Cannot listen on {address!r}: expected HOST:PORT, [IPV6]:PORT or unix:/PATH.")
    return host, int(port)


def _listen_tcp(host: str, port: int, reuse_port: bool) -> Listening:
    """All addresses that a name has, on one port. "0.0.0.0" takes IPv6 too, as in gRPC."""
    places = _everywhere() if host in _ANY else _resolve(host)
    found = Listening("")
    failure: OSError | None = None
    for family, place in places:
        try:
            listener = _bound(family, place, port, reuse_port, both=host in _ANY)
        except OSError as error:
            if error.errno in _TAKEN:
                found.close()
                raise
            failure = error  # for example no IPv6 here
            continue
        found.sockets.append(listener)
        port = listener.getsockname()[1]
        if host in _ANY:
            break
    if not found.sockets:
        raise failure or OSError(errno.EADDRNOTAVAIL, f"{host} is no address of this machine")
    found.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return found


def _everywhere() -> list[tuple[int, str]]:
    return [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]


def _resolve(host: str) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), str(place[0])) for family, _, _, _, place in found))


def _bound(family: int, place: str, port: int, reuse_port: bool, *, both: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        listener.bind((place, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_unix(address: str) -> Listening:
    path = address.removeprefix("unix:")
    path = path.removeprefix("//") if path.startswith("///") else path
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return Listening(address, [listener], path)


def _remove_stale(path: str) -> None:
    """Removes the file that a killed server left; one where somebody listens stays, and binding to it fails."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                Path(path).unlink()


def tune(connection: socket.socket) -> None:
    """Small answers go at once; a client whose machine is gone is noticed."""
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)


def peer_name(address: object) -> str:
    """As gRPC users read it: "127.0.0.1:4711", "[::1]:4711", "unix:"."""
    if not isinstance(address, tuple):
        return "unix:"
    host, port = str(address[0]).removeprefix("::ffff:"), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
