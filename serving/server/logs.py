"""The server's log: a line for people on a terminal, a JSON object a line elsewhere.

A record's fields come with `extra={"fields": {...}}`. What clients have sent never ends a line or moves a terminal's cursor.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

_log = logging.getLogger(__name__)

FORMATS = ("auto", "text", "json")

# Libraries whose warnings are no news to whoever runs a server.
_NOISY = ("tensorflow", "absl", "uvicorn", "asyncio", "opentelemetry")
_COLORS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_is_plain = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f]+").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(form: str = "auto", level: int = logging.INFO) -> None:
    """Sends all logging, warnings included, to standard error in one of FORMATS. To be called before other imports."""
    terminal = sys.stderr.isatty()
    handler = _StandardError()
    handler.addFilter(_Tracebacks())
    handler.setFormatter(Json() if form == "json" or (form == "auto" and not terminal) else Text(terminal=terminal))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    for library in _NOISY:
        logging.getLogger(library).setLevel(logging.ERROR)


class Limit:
    """Lets a hundred through at once and one a second in the long run, so that no flood of them can fill a disk."""

    BURST = 100.0
    PER_SECOND = 1.0

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._left = self.BURST
        self._then = clock()
        self._refused = 0
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Whether one more may be logged; tells how many were not, once one may again."""
        with self._lock:
            now = self._clock()
            self._left = min(self._left + (now - self._then) * self.PER_SECOND, self.BURST)
            self._then = now
            if self._left < 1:
                self._refused += 1
                return False
            self._left -= 1
            refused, self._refused = self._refused, 0
        if refused:
            _log.warning("%d %s were not logged", refused, self._what)
        return True


class _Tracebacks(logging.Filter):
    """Limits records with tracebacks, which a client may be able to cause at will."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = Limit("tracebacks")

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.exc_info or self._limit.allows()


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg] # Python 3.10 has no StreamHandler[TextIO]
    """Writes to what `sys.stderr` is at the moment, so that the live view, which replaces it, stays whole."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, logger, message, the record's fields, and the exception if there is one."""
        moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Text(logging.Formatter):
    """Time, level, message and fields on one line; a traceback is indented below it."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(datefmt="%H:%M:%S" if terminal else "%Y-%m-%d %H:%M:%S")
        self._colors = _COLORS if terminal and not os.environ.get("NO_COLOR") else {}

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        color = self._colors.get(record.levelname, "")
        level = f"{color}{record.levelname:<7}\x1b[0m" if color else f"{record.levelname:<7}"
        fields = "".join(f" {name}={_quoted(str(value))}" for name, value in _fields(record).items())
        line = f"{self.formatTime(record, self.datefmt)} {level} {printable(record.getMessage())}{fields}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line = "\n    ".join([line, *map(printable, trace)])
        return line


def printable(text: str) -> str:
    """The text with its control characters written as escapes."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def _quoted(text: str) -> str:
    return text if _is_plain(text) else printable(json.dumps(text, ensure_ascii=False))


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields


@contextlib.contextmanager
def native_notes() -> Iterator[None]:
    """What native code writes to standard error in the block is logged as DEBUG; or shown as it is, if the block fails.

    For importing TensorFlow, whose C++ code has no other way to speak. No other thread should log meanwhile.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(saved, notes.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        notes.seek(0)
        for line in notes.read().decode(errors="replace").splitlines():
            _log.debug("%s", line)
