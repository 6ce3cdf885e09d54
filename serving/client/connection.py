"""How a client reaches its servers: addresses, encryption, who asks, and what gRPC is told."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from serving import wire
from serving.errors import InvalidArgument

if TYPE_CHECKING:
    import ssl

Address = str | Sequence[str]
Pem = bytes | str | os.PathLike[str]

# gRPC's own wait a second before they try a lost connection again, and up to two minutes later.
_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 2000))
_ROUND_ROBIN: Mapping[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
# Targets that may stand for several servers.
_MANY = ("dns:", "ipv4:", "ipv6:")


@dataclass(frozen=True)
class Tls:
    """Encryption. Each part is PEM, as bytes, or the path of a file with it.

    ca: whose certificates of servers are believed; None: gRPC's list of authorities.
    certificate, key: the client's own, for servers that want one (mutual TLS).
    server_name: what the server's certificate is made out to, if not to its address.

    Raises ValueError for a certificate without a key, or a key without a certificate.
    """

    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("A client's certificate and its key go together. Received one of them.")

    def credentials(self) -> Any:
        """As gRPC wants them. Raises OSError for a file that cannot be read."""
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.certificate))

    def context(self) -> ssl.SSLContext:
        """As HTTP clients want them. Raises OSError for a file that cannot be read, or that holds something else."""
        import ssl
        import tempfile

        ca, key, certificate = _pem(self.ca), _pem(self.key), _pem(self.certificate)
        context = ssl.create_default_context(cadata=None if ca is None else ca.decode())
        if key is not None and certificate is not None:
            with tempfile.NamedTemporaryFile() as both:  # there is no way but a file; only its owner may read it
                both.write(key + b"\n" + certificate)
                both.flush()
                context.load_cert_chain(both.name)
        return context


@dataclass(frozen=True)
class Connection:
    """How servers are reached.

    tls: None for no encryption.
    token: sent as "authorization: Bearer TOKEN"; a function is asked for it before each attempt. Without TLS, others on the way
        can read it.
    gzip: whether requests are compressed, which pays for text and flat pictures on a slow network.
    service_config: gRPC's settings for the channel in its JSON form; None: round robin where a target has several addresses.
    interceptors: gRPC's, of the client's kind: grpc.UnaryUnaryClientInterceptor, or grpc.aio's.
    """

    tls: Tls | None = None
    token: str | Callable[[], str] | None = None
    gzip: bool = False
    service_config: Mapping[str, object] | None = None
    interceptors: Sequence[Any] = ()

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each attempt. Raises InvalidArgument for a token that no header can hold."""
        token = self.token() if callable(self.token) else self.token
        if token and not (token.isascii() and token.isprintable()):  # libraries would tell the token itself
            raise InvalidArgument("The token holds what no header can, such as the end of a line: pass token.strip().")
        return (("authorization", f"Bearer {token}"),) if token else ()

    def channel(self, address: Address) -> Any:
        """For threads."""
        return grpc.intercept_channel(self._open(grpc, address), *self.interceptors)

    def aio_channel(self, address: Address) -> Any:
        """For the event loop that runs."""
        return self._open(grpc.aio, address, interceptors=list(self.interceptors))

    def _open(self, library: Any, address: Address, **options: Any) -> Any:
        name = target(address)
        compression = grpc.Compression.Gzip if self.gzip else None
        options = {"options": self._options(name), "compression": compression, **options}
        if self.tls is None:
            return library.insecure_channel(name, **options)
        return library.secure_channel(name, self.tls.credentials(), **options)

    def _options(self, name: str) -> tuple[tuple[str, int | str], ...]:
        options: tuple[tuple[str, int | str], ...] = (*wire.CHANNEL_OPTIONS, *_RECONNECT)
        config = self.service_config or (_ROUND_ROBIN if name.startswith(_MANY) else None)
        if config is not None:
            options += (("grpc.service_config", json.dumps(config)),)
        if self.tls is not None and self.tls.server_name is not None:
            options += (("grpc.ssl_target_name_override", self.tls.server_name),)
        return options


DEFAULT_CONNECTION = Connection()


def target(address: Address) -> str:
    """What gRPC calls the address, or the list of addresses "IP:PORT"; other texts are as gRPC has them, such as dns:///name:port.

    Raises ValueError for a list that gRPC has no name for.
    """
    if isinstance(address, str):
        return address
    if len(address) == 1:
        return address[0]
    versions = {_ip_version(each) for each in address}
    if len(versions) != 1 or None in versions:
        raise ValueError(
            "Several addresses are of the form IP:PORT, all IPv4 or all [IPv6]; servers behind one name are dns:///name:port. "
            f"Received: {', '.join(address) or 'none'}."
        )
    return f"ipv{versions.pop()}:{','.join(address)}"


def _ip_version(address: str) -> int | None:
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).version
    except ValueError:
        return None


def _pem(given: Pem | None) -> bytes | None:
    return given if given is None or isinstance(given, bytes) else Path(given).read_bytes()
