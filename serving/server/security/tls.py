"""The keys of an encrypted port, from the file of --ssl_config_file.

What is wrong with them is told before a port opens: a TLS library tells it by refusing every client.
"""

from __future__ import annotations

import logging
import ssl
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from serving.errors import InvalidArgument
from serving.server import text_proto
from serving.server.security import ssl_config_pb2
from serving.server.transports import Tls

_log = logging.getLogger(__name__)

_UTC_TIME = 0x17


def read(path: Path) -> Tls:
    """The keys of a text file with an SSLConfig. Raises InvalidArgument if a port could not use them."""
    config = text_proto.read(path, ssl_config_pb2.SSLConfig(), "tensorflow.serving.SSLConfig")
    tls = Tls(
        server_key=config.server_key.encode(),
        server_cert=config.server_cert.encode(),
        custom_ca=config.custom_ca.encode(),
        client_verify=config.client_verify,
    )
    _require_pem(path, tls)
    context(tls)
    if problem := date_problem(config.server_cert, datetime.now(timezone.utc)):
        _log.warning("TLS: %s; clients will refuse it", problem)
    return tls


def context(tls: Tls, *protocols: str) -> ssl.SSLContext:
    """For a port of this process, which offers `protocols` (ALPN).

    Raises InvalidArgument if the keys are damaged, do not match, or are under a passphrase.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if protocols:
        made.set_alpn_protocols(protocols)
    # The ssl module takes a server's keys from files only. Ours are readable for this user alone, and gone at once.
    with tempfile.TemporaryDirectory(prefix="cnn-tf-") as folder:
        key, cert = Path(folder) / "key.pem", Path(folder) / "cert.pem"
        key.write_bytes(tls.server_key)
        cert.write_bytes(tls.server_cert)
        try:
            # A key under a passphrase would otherwise ask for it in the terminal, and wait.
            made.load_cert_chain(cert, key, password=_no_passphrase)
        except ssl.SSLError as error:
            raise InvalidArgument(f"TLS: {_what_is_wrong(error, cert)}") from error
    if tls.custom_ca:
        _trust(made, tls.custom_ca)
    if tls.client_verify:
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _no_passphrase() -> str:
    raise InvalidArgument(
        "TLS: server_key is under a passphrase. Pass a key without: openssl pkey -in KEY -out NEW_KEY"
    )


def _what_is_wrong(error: ssl.SSLError, cert: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "server_key is not the key of server_cert."
    try:
        ssl.create_default_context(cafile=str(cert))
    except ssl.SSLError:
        return f"server_cert is damaged ({error.reason or 'not PEM'})."
    return f"server_key is damaged or does not fit server_cert ({error.reason or 'not PEM'})."


def _trust(made: ssl.SSLContext, custom_ca: bytes) -> None:
    try:
        # What is not ASCII is a remark between the certificates.
        made.load_verify_locations(cadata=custom_ca.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        raise InvalidArgument(f"TLS: custom_ca is damaged ({error.reason or 'not PEM'}).") from error


def _require_pem(path: Path, tls: Tls) -> None:
    """A file name instead of its text is the usual mistake."""
    wanted = {"server_key": (tls.server_key, b"PRIVATE KEY"), "server_cert": (tls.server_cert, b"CERTIFICATE")}
    if tls.custom_ca or tls.client_verify:
        wanted["custom_ca"] = (tls.custom_ca, b"CERTIFICATE")
    for name, (text, label) in wanted.items():
        if b"-----BEGIN " not in text or label not in text:
            received = f"{text[:40].decode()!r}" if text else "nothing"
            raise InvalidArgument(
                f"{path}: {name} must be PEM text itself, -----BEGIN {label.decode()}----- and so on, its lines joined by "
                f"\\n, not the name of a file. Received: {received}."
            )


def date_problem(pem: str, now: datetime) -> str:
    """Why clients will refuse the first certificate of `pem` at `now`, or ""."""
    begin, end = validity(pem)
    if now > end:
        return f"server_cert expired on {end.date()}"
    return f"server_cert is valid from {begin.date()} only" if now < begin else ""


def validity(pem: str) -> tuple[datetime, datetime]:
    """From when to when the first certificate of `pem` is valid. The ssl module tells it of peers' certificates only."""
    begin = pem.index("-----BEGIN CERTIFICATE-----")
    end = pem.index("-----END CERTIFICATE-----", begin)
    der = ssl.PEM_cert_to_DER_cert(pem[begin:end] + "-----END CERTIFICATE-----")
    (_, certificate), *_ = _elements(der)
    (_, to_be_signed), *_ = _elements(certificate)
    # [version,] serial number, signature algorithm, issuer, validity (RFC 5280)
    fields = [value for tag, value in _elements(to_be_signed) if tag != 0xA0]
    not_before, not_after = (_time(tag, value) for tag, value in _elements(fields[3]))
    return not_before, not_after


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of the DER elements that stand side by side in `der`."""
    position = 0
    while position < len(der):
        tag, length = der[position], der[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[position : position + size], "big")
            position += size
        yield tag, der[position : position + length]
        position += length


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode()
    if tag == _UTC_TIME:  # two digits of a year: 50 and above are of the last century (RFC 5280)
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
