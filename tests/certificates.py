"""Keys and certificates for tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """PEM text of a key and its certificate, and the files they are in."""

    key: str
    cert: str
    key_file: Path
    cert_file: Path


def self_signed(folder: Path, name: str = "localhost", days: int = 30) -> Pair:
    """For `name` and 127.0.0.1."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days),
        "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1",
        "-keyout", str(key), "-out", str(cert),
    )  # fmt: skip
    return Pair(key.read_text(), cert.read_text(), key, cert)


def with_passphrase(pair: Pair, passphrase: str) -> str:
    """The key, PEM text, under a passphrase."""
    return _openssl("pkey", "-in", str(pair.key_file), "-aes256", "-passout", f"pass:{passphrase}")


def dates(pair: Pair) -> str:
    """What openssl says of them."""
    return _openssl("x509", "-in", str(pair.cert_file), "-noout", "-dates")


def ssl_config(file: Path, **fields: object) -> Path:
    """Writes an SSLConfig of `fields`, text quoted as the text format wants it."""
    lines = [f"{name}: {_quoted(value)}" for name, value in fields.items()]
    file.write_text("\n".join(lines))
    return file


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + str(value).replace("\n", "\\n") + '"'


def _openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout
