"""TLS of a port: its context from PEM text."""

from __future__ import annotations

import ssl
import tempfile

from serving import errors
from serving.server.transports import Tls


def context(tls: Tls) -> ssl.SSLContext:
    """For HTTP/2 only. Raises InvalidArgument if the PEM text is of no use."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["h2"])
    try:
        # ssl reads keys from files alone; this one has no name for others to find, or is gone when it is closed.
        with tempfile.NamedTemporaryFile() as file:
            file.write(tls.server_cert.strip() + b"\n" + tls.server_key.strip() + b"\n")
            file.flush()
            made.load_cert_chain(file.name)
        if tls.custom_ca:
            made.load_verify_locations(cadata=tls.custom_ca.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise errors.InvalidArgument(
            f"The TLS key, certificate or custom CA cannot be used: expected PEM text of a key and its certificate ({error})."
        ) from error
    if tls.client_verify:
        made.verify_mode = ssl.CERT_REQUIRED
    return made
