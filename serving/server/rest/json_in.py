"""The body of a request: JSON as RapidJSON reads it, with big lists of numbers taken in apart."""

from __future__ import annotations

import re
import secrets
from typing import Any

import orjson

from serving import errors
from serving.server.rest import flat, json_out, reader
from serving.server.rest.reader import Json

# Malformed input is quoted in errors up to this many characters.
QUOTE_LENGTH = 256
# Smaller bodies are read in one go; and where strings are many, looking for lists between them costs more than it saves.
_WORTH_WHILE = 512
_MANY_QUOTES = 64

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_MEMBER = re.compile(_STRING + rb"([ \n\r\t]*:)?", re.DOTALL)
# Without an end to look for, so that it takes each byte once, whatever comes.
_STRING_OR_NUMBERS = re.compile(_STRING + rb"|\[[\[\]0-9eE+\-., \n\r\t]{200,}", re.DOTALL)
# Nobody else can write a string that is taken for numbers.
_MARK = secrets.token_hex(16)


class Document:
    """A parsed body: an object, whose "instances", "inputs" or members of "inputs" may be `flat.Flat` instead of lists."""

    def __init__(self, body: bytes) -> None:
        """Raises InvalidArgument."""
        apart = _with_numbers_apart(body)
        self.fields: dict[str, Any] = _object(body) if apart is None else apart
        self._body = None if apart is None else body

    def plain(self) -> dict[str, Json]:
        """The object with lists throughout."""
        return self.fields if self._body is None else _object(self._body)

    @property
    def signature_name(self) -> str:
        """Empty for the default. Raises InvalidArgument."""
        name = self.fields.get("signature_name", "")
        if not isinstance(name, str):
            raise wrong(self.plain(), "not formatted correctly. 'signature_name' key must be a string value.")
        return name


def _object(body: bytes) -> dict[str, Json]:
    tree = parse(body)
    if not isinstance(tree, dict):
        raise wrong(tree, "Is not object")
    return tree


def parse(body: bytes) -> Json:
    """The first JSON document in `body`. Raises InvalidArgument.

    Of members with one name the first counts.
    """
    if not body:
        raise errors.InvalidArgument("JSON Parse error: The document is empty")
    tree = _parse_quickly(body)
    return reader.read(body) if tree is None else tree


def _parse_quickly(body: bytes) -> Json:
    """What orjson reads as RapidJSON does; None for the rest (and for null, which is no body)."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(tree, dict) and body.count(b":") == len(tree):
        return tree
    # Of members with one name orjson keeps the last, so they are counted.
    return tree if _count_members(tree) == sum(map(bool, _MEMBER.findall(body))) else None


def _count_members(tree: Json) -> int:
    count, waiting = 0, [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            count += len(value)
            waiting.extend(value.values())
        elif isinstance(value, list) and not {dict, list}.isdisjoint(set(map(type, value))):
            waiting.extend(value)
    return count


def _with_numbers_apart(body: bytes) -> dict[str, Any] | None:
    """The object with big lists of numbers as `flat.Flat`; None if it has none, or not only where they can be used."""
    if len(body) < _WORTH_WHILE or body.count(b'"') > _MANY_QUOTES:
        return None
    found: list[flat.Flat] = []

    def park(match: re.Match[bytes]) -> bytes:
        text, end, rest = match.group().rpartition(b"]")
        numbers = flat.from_text(text + end) if text.startswith(b"[") else None
        if numbers is None:
            return match.group()
        found.append(numbers)
        return f'"{_MARK}{len(found) - 1}"'.encode() + rest

    rest = _STRING_OR_NUMBERS.sub(park, body)
    tree = _parse_quickly(rest) if found else None
    return tree if isinstance(tree, dict) and _put_back(tree, found) else None


def _put_back(tree: dict[str, Any], found: list[flat.Flat]) -> bool:
    """Puts numbers where they belong; returns whether that was possible for all."""
    inputs = tree.get("inputs")
    places = [(tree, "instances"), (tree, "inputs")]
    if isinstance(inputs, dict):
        places += [(inputs, name) for name in inputs]
    done = 0
    for container, name in places:
        value = container.get(name)
        if isinstance(value, str) and value.startswith(_MARK):
            container[name] = found[int(value[len(_MARK) :])]
            done += 1
    return done == len(found)


def wrong(value: Json, problem: str) -> errors.InvalidArgument:
    """The error that a value has a problem."""
    return errors.InvalidArgument(f"JSON Value: {quote(value)} {problem}")


def quote(value: Json) -> str:
    """The beginning of a value as JSON, for an error."""
    text = ""
    for piece in json_out.pretty(value):
        text += piece
        if len(text) > QUOTE_LENGTH:
            return text[:QUOTE_LENGTH] + "..."
    return text


def type_name(value: Json) -> str:
    """As RapidJSON calls it."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    kinds = {dict: "Object", list: "Array", str: "String"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "Number")


def is_base64(value: Json) -> bool:
    """Whether a value is {"b64": "..."}."""
    return type(value) is dict and len(value) == 1 and isinstance(value.get("b64"), str)
