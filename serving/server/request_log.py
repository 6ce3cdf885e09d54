"""A log line for each request, or for those that failed; and the ids by which requests are found again."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable

from serving.server.calls import Call
from serving.server.logs import Limit

_log = logging.getLogger("serving.requests")

CHOICES = ("none", "errors", "all")

_FAULTS = {"UNKNOWN", "INTERNAL", "DATA_LOSS"}
_MAX_FIELD = 256

_is_sane = re.compile(r"[\w.:/+=@~-]{1,128}", re.ASCII).fullmatch
_numbers = itertools.count(1)
_prefix = secrets.token_hex(4)


def request_id(call: Call) -> str:
    """The id of a request: the client's if it is short and of plain characters, or one of ours."""
    if not _is_sane(call.request_id):
        call.request_id = f"{_prefix}-{next(_numbers):x}"
    return call.request_id


class RequestLog:
    """A line a request. `which` is one of CHOICES; "errors" are limited in number, so that none can fill the disk."""

    def __init__(self, which: str = "errors", clock: Callable[[], float] = time.monotonic) -> None:
        self._successes = which == "all"
        self._errors = which != "none"
        self._limit = None if which == "all" else Limit("failed requests", clock)

    def wants(self, status: str) -> bool:
        """Whether requests of this status are logged at all."""
        return self._successes if status == "OK" else self._errors

    def answered(self, call: Call, method: str, status: str, seconds: float, error: str = "", **fields: object) -> None:
        """A request was answered. `fields`: model, version, signature, batch size; those that are None are left out."""
        if not self.wants(status) or (status != "OK" and self._limit and not self._limit.allows()):
            return
        named = {"status": status, "ms": round(seconds * 1e3, 2), "id": request_id(call), "peer": call.peer, **fields}
        if call.span:
            named["trace_id"] = call.span.trace_id
        if error:
            named["error"] = error
        level = logging.INFO if status == "OK" else logging.ERROR if status in _FAULTS else logging.WARNING
        short = {name: _short(value) for name, value in named.items() if value not in (None, "")}
        _log.log(level, "%s", _short(method), extra={"fields": short})


def _short(value: object) -> object:
    return value[:_MAX_FIELD] + "..." if isinstance(value, str) and len(value) > _MAX_FIELD else value
