"""Bearer tokens: who carries one of them may ask.

A file holds one token a line; blank lines and those that begin with # are skipped. It is read again when it changes, so tokens
come and go without a restart. The tokens themselves are not kept, nor ever logged.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from serving.errors import InvalidArgument, Unauthenticated

_log = logging.getLogger(__name__)

# What a token may be written with (RFC 6750).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")

# How often to look whether the file has changed, seconds.
LOOK_SECONDS = 1.0


class Tokens:
    """The tokens of a file. Safe to use from several threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises InvalidArgument if the file cannot be read or holds no token."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._digests = _read(path)
        self._seen = _stamp(path)
        self._looked = clock()

    def client(self, authorization: str) -> str:
        """Who asks, from the value of the authorization header: a name that tells nothing of the token.

        Raises Unauthenticated.
        """
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthenticated("A token is needed. Expected the header or metadata: authorization: Bearer TOKEN")
        digest = hashlib.sha256(token.strip().encode(errors="replace")).digest()
        # Every one is compared, however early one fits, so that the time tells nothing.
        if not sum([hmac.compare_digest(digest, known) for known in self._current()]):
            raise Unauthenticated("The bearer token is not one of this server's")
        return f"token:{digest.hex()[:16]}"

    def _current(self) -> Collection[bytes]:
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._looked = self._clock()
                self._read_again()
            return self._digests

    def _read_again(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._digests = _read(self._path)
            _log.info("Read %d tokens from %s", len(self._digests), self._path)
        except InvalidArgument as error:
            _log.error("The former tokens stay valid. %s", error.message)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> Collection[bytes]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f"Cannot read the token file {path}: {getattr(error, 'strerror', 'not text')}."
        ) from error
    tokens = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and line.strip()[0] != "#"]
    if not tokens:
        raise InvalidArgument(
            f"The token file {path} must hold a token, such as of: openssl rand -hex 32. It holds none."
        )
    for number, token in tokens:
        if not _TOKEN.fullmatch(token):
            raise InvalidArgument(
                f"{path}:{number}: a token must be one word of letters, digits and ._~+/- (RFC 6750). This line is not."
            )
    return [hashlib.sha256(token.encode()).digest() for _, token in tokens]
