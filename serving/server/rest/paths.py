"""What a request's path names.

    POST /v1/models/M[/versions/N | /labels/L]:predict | :classify | :regress
    GET  /v1/models/M[/versions/N | /labels/L]              status
    GET  /v1/models/M[/versions/N | /labels/L]/metadata
    GET  /v1/models                                         list (an addition of ours)

The fixed parts may be in any case; names and labels are %-decoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from serving import errors

_WHICH = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:?]+))?"
_INFERENCE = re.compile(
    rf"/v1/models/(?P<name>[^/:?]+){_WHICH}:(?P<method>classify|regress|predict)", re.IGNORECASE | re.DOTALL
)
_CONTROL = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:?]+))?{_WHICH}(?:/(?P<method>metadata))?", re.IGNORECASE | re.DOTALL
)
_BY_VERB = {"POST": _INFERENCE, "GET": _CONTROL}

MAX_VERSION = 2**63 - 1


class Target(NamedTuple):
    """A model, one of its versions if the path names one, and what to do with it."""

    name: str
    version: int | None
    label: str | None
    method: str
    """"predict", "classify", "regress", "metadata", "status" or "list"."""


def parse(verb: str, path: str) -> Target:
    """Takes the path of a request apart, query included, as it was sent. Raises InvalidArgument."""
    pattern = _BY_VERB.get(verb)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise errors.InvalidArgument(f"Malformed request: {verb} {path}")
    version = _version(match["version"])
    method = (match["method"] or "status").lower()
    if match["name"] is None:
        if match.group() != match.group()[: len("/v1/models")]:
            raise errors.InvalidArgument("Missing model name in request.")
        method = "list"
    label = unquote(match["label"]) if match["label"] else None
    return Target(unquote(match["name"] or ""), version, label, method)


def route(path: str) -> str:
    """The form of a path, such as "/v1/models/{model}/versions/{version}:predict"; "" if it is none of ours."""
    match = _INFERENCE.fullmatch(path) or _CONTROL.fullmatch(path)
    if match is None:
        return ""
    form = "/v1/models/{model}" if match["name"] else "/v1/models"
    form += "/versions/{version}" if match["version"] else "/labels/{label}" if match["label"] else ""
    method = (match["method"] or "").lower()
    return form + (f"/{method}" if method == "metadata" else f":{method}" if method else "")


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    # Any digits at all may come, and int() refuses more than 4300.
    if len(digits.lstrip("0")) > len(str(MAX_VERSION)) or int(digits.lstrip("0") or "0") > MAX_VERSION:
        raise errors.InvalidArgument(f"Failed to convert version: {digits} to numeric.")
    return int(digits.lstrip("0") or "0")
