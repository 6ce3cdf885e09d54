"""gRPC over HTTP/2 on asyncio, for servers whose models answer faster than grpcio carries their requests.

listening   addresses -> sockets          frames     the nine bytes before each frame, settings, error codes
server      the transport: loop, stop     headers    HPACK in: who calls what        responses   HPACK out
outbox      answers from other threads    messages   gRPC's length-prefixed messages, compressed or not
connection  one client: frames in         flow       bytes out: windows, fairness, full buffers
stream      one call                      limits     what a client may cost
"""

from __future__ import annotations

from serving.server.transports.http2.server import Http2Transport

__all__ = ["Http2Transport"]
