"""How bytes travel: each transport carries the methods of `calls` over gRPC's wire protocol.

Constructing a transport binds its addresses, so that a taken port is told at once; `start` answers from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Tls:
    """Keys of an encrypted port, PEM text."""

    server_key: bytes
    server_cert: bytes
    custom_ca: bytes = b""
    """Whom client certificates must be signed by."""
    client_verify: bool = False
    """Whether a client must show a certificate."""


@dataclass(frozen=True)
class Options:
    """What every transport can be told."""

    tls: Tls | None = None
    threads: int = 8
    """For methods that block."""
    max_request_bytes: int = 2**31 - 1
    """A longer message is refused with RESOURCE_EXHAUSTED before it is received."""
    channel_arguments: Sequence[tuple[str, int | str]] = ()
    """gRPC's own settings, by name; what a transport does not know it ignores with a warning."""


class Transport(Protocol):
    """A server for gRPC calls."""

    addresses: Sequence[str]
    """Where it listens, "host:port" or "unix:/path", with the ports that were chosen for 0."""

    def start(self) -> None:
        """Answers from now on."""

    def stop(self, grace_seconds: float) -> None:
        """Takes no new calls (UNAVAILABLE), finishes those under way for `grace_seconds`, then cancels the rest."""
