"""A JSON parser that does what RapidJSON's iterative one does: any depth, NaN and Inf, nothing after the first document.

It is complete, and slow; `json_in` asks it only about what orjson refuses.
"""

from __future__ import annotations

import json
import re
from typing import Any

from serving import errors

Json = Any
"""dict, list, str, int, float, bool or None. Bytes that are not UTF-8 are in a str as surrogates (PEP 383)."""

_BLANK = re.compile(rb"[ \n\r\t]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(rb"NaN|-NaN|(-?)Inf(?:inity)?")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_FLAT_LIST = re.compile(rb"\[[0-9eE+\-., \n\r\tNaInfity]*\]")
# What Python's json reads otherwise than RapidJSON: integers beyond 64 bits, and numbers beyond double's range.
_BEYOND = re.compile(rb"[0-9]{19}|[eE]\+?[0-9]{3}")
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = dict(zip(b'"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))
_LITERALS = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}
_BOM = b"\xef\xbb\xbf"

# Deeper documents would take more memory than they can be worth; RapidJSON takes 500,000 levels, and so do we.
MAX_DEPTH = 1_000_000

NO_NAME = "Missing a name for object member."
NO_COLON = "Missing a colon after a name of object member."
NO_BRACE = "Missing a comma or '}' after an object member."
NO_BRACKET = "Missing a comma or ']' after an array element."
NO_VALUE = "Invalid value."


class Repeated(dict[str, Json]):
    """An object that has a name twice: the first one counts."""


def read(text: bytes) -> Json:
    """The first document in `text`. Raises InvalidArgument with RapidJSON's text and offset."""
    return _Reader(text).document()


class _Reader:
    def __init__(self, text: bytes) -> None:
        self._text = text + b"\0"  # RapidJSON's streams end so, and a zero byte in a text ends it too
        self._at = len(_BOM) if text.startswith(_BOM) else 0

    def document(self) -> Json:
        """Reads values into the innermost open container until the outermost is closed."""
        if self._peek() in b"\0,:]}":
            raise self._error("The document is empty.")
        open_: list[tuple[Json, str]] = []  # containers, and the name that each one has in its parent
        name = ""
        while True:
            value, is_open = self._value()
            if is_open:
                if len(open_) == MAX_DEPTH:
                    raise self._error(f"More than {MAX_DEPTH} levels.")
                open_.append((value, name))
                if not self._closes(value):
                    name = self._name(value, first=True)
                    continue
                value, name = open_.pop()
            while open_:
                _put(open_, name, value)
                if self._continues(open_[-1][0]):
                    break
                value, name = open_.pop()
            else:
                return value
            name = self._name(open_[-1][0], first=False)

    def _peek(self) -> int:
        """The next byte that is not blank."""
        if self._text[self._at] in b" \n\r\t":
            self._at = _BLANK.match(self._text, self._at).end()  # type: ignore[union-attr]
        return self._text[self._at]

    def _error(self, problem: str, at: int | None = None) -> errors.InvalidArgument:
        return errors.InvalidArgument(f"JSON Parse error: {problem} at offset: {self._at if at is None else at}")

    def _closes(self, container: Json) -> bool:
        """Whether a container that was just opened is empty."""
        end = b"]"[0] if isinstance(container, list) else b"}"[0]
        if self._peek() != end:
            return False
        self._at += 1
        return True

    def _continues(self, container: Json) -> bool:
        """Whether another value follows in a container, which else ends here."""
        is_list = isinstance(container, list)
        byte = self._peek()
        if byte not in (b",]" if is_list else b",}"):
            raise self._error(NO_BRACKET if is_list else NO_BRACE)
        self._at += 1
        return byte == b","[0]

    def _name(self, container: Json, *, first: bool) -> str:
        """The name that comes before a value in an object; "" in a list."""
        byte = self._peek()
        if isinstance(container, list):
            if byte in (b"\0,:}" if first else b"\0,:]}"):
                raise self._error(NO_VALUE)
            return ""
        if byte != b'"'[0]:
            raise self._error(NO_NAME)
        name = self._string()
        if self._peek() != b":"[0]:
            raise self._error(NO_COLON)
        self._at += 1
        if self._peek() in b"\0,:]}":
            raise self._error(NO_VALUE)
        return name

    def _value(self) -> tuple[Json, bool]:
        """A value, and whether it is a container whose content follows."""
        byte = self._peek()
        if byte == b"["[0]:
            numbers = self._flat_list()
            if numbers is not None:
                return numbers, False
            self._at += 1
            return [], True
        if byte == b"{"[0]:
            self._at += 1
            return {}, True
        if byte == b'"'[0]:
            return self._string(), False
        if byte in _LITERALS:
            return self._literal(*_LITERALS[byte]), False
        return self._number(), False

    def _flat_list(self) -> list[Json] | None:
        """A list of nothing but numbers, read without a step for each of them; None if this is not one."""
        match = _FLAT_LIST.match(self._text, self._at)
        if not match or _BEYOND.search(match.group()):
            return None
        try:
            numbers: list[Json] = json.loads(match.group())
        except ValueError:
            return None
        self._at = match.end()
        return numbers

    def _literal(self, word: bytes, value: bool | None) -> bool | None:
        end = self._text.startswith(word, self._at)
        if not end:
            raise self._error(NO_VALUE, self._at + _common(word, self._text[self._at : self._at + len(word)]))
        self._at += len(word)
        return value

    def _number(self) -> int | float:
        if match := _NOT_FINITE.match(self._text, self._at):
            return self._not_finite(match)
        match = _NUMBER.match(self._text, self._at)
        if not match:
            raise self._not_a_number()
        begin, self._at = self._at, match.end()
        if not match[2]:
            self._require_whole(match)
        if match[1] is None and match[2] is None and len(match.group()) <= 20:
            number = int(match.group())
            if -(2**63) <= number < 2**64:
                return number
        value = float(match.group())
        if value in (float("inf"), float("-inf")):
            raise self._error("Number too big to be stored in double.", begin)
        return value

    def _require_whole(self, match: re.Match[bytes]) -> None:
        """Raises if a fraction or an exponent begins behind a number, and is none."""
        follows = self._text[self._at]
        if follows == b"."[0] and match[1] is None:
            raise self._error("Miss fraction part in number.", self._at + 1)
        if follows in b"eE":
            signed = self._text[self._at + 1] in b"+-"
            raise self._error("Miss exponent in number.", self._at + 1 + signed)

    def _not_finite(self, match: re.Match[bytes]) -> float:
        self._at = match.end()
        if match[1] is None:
            return float("nan")
        if len(match.group().lstrip(b"-")) == len(b"Inf") and self._text[self._at] == b"i"[0]:
            rest = self._text[self._at : self._at + len(b"inity")]
            raise self._error(NO_VALUE, self._at + _common(b"inity", rest))
        return float("-inf" if match[1] else "inf")

    def _not_a_number(self) -> errors.InvalidArgument:
        at = self._at + (self._text[self._at] == b"-"[0])
        word = {b"N"[0]: b"NaN", b"I"[0]: b"Inf"}.get(self._text[at], b"")
        return self._error(NO_VALUE, at + _common(word, self._text[at : at + len(word)]))

    def _string(self) -> str:
        begin = self._at + 1
        end = _PLAIN.match(self._text, begin).end()  # type: ignore[union-attr]
        if self._text[end] == b'"'[0]:
            self._at = end + 1
            return self._text[begin:end].decode(errors="surrogateescape")
        parts = []
        while self._text[end] != b'"'[0]:
            parts.append(self._text[begin:end].decode(errors="surrogateescape"))
            begin = self._escape(end, parts)
            end = _PLAIN.match(self._text, begin).end()  # type: ignore[union-attr]
        self._at = end + 1
        parts.append(self._text[begin:end].decode(errors="surrogateescape"))
        return "".join(parts)

    def _escape(self, at: int, parts: list[str]) -> int:
        """Reads the escape at `at`; returns where it ends."""
        if self._text[at] != b"\\"[0]:
            if self._text[at] == 0:
                raise self._error("Missing a closing quotation mark in string.", at)
            raise self._error("Invalid encoding in string.", at)
        follows = self._text[at + 1]
        if follows in _ESCAPES:
            parts.append(_ESCAPES[follows])
            return at + 2
        if follows != b"u"[0]:
            raise self._error("Invalid escape character in string.", at)
        code, end = self._hex(at, at + 2), at + 6
        if 0xD800 <= code <= 0xDFFF:
            if code >= 0xDC00 or self._text[end : end + 2] != b"\\u":
                raise self._error("The surrogate pair in string is invalid.", at)
            low, end = self._hex(at, end + 2), end + 6
            if not 0xDC00 <= low <= 0xDFFF:
                raise self._error("The surrogate pair in string is invalid.", at)
            code = ((code - 0xD800) << 10 | (low - 0xDC00)) + 0x10000
        parts.append(chr(code))
        return end

    def _hex(self, escape: int, at: int) -> int:
        match = _HEX.match(self._text, at)
        if not match:
            raise self._error("Incorrect hex digit after \\u escape in string.", escape)
        return int(match.group(), 16)


def _common(word: bytes, text: bytes) -> int:
    """How many bytes two words begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(word, text, strict=False)) if a != b), min(len(word), len(text)))


def _put(open_: list[tuple[Json, str]], name: str, value: Json) -> None:
    """Adds a value to the innermost open container."""
    container, own_name = open_[-1]
    if isinstance(container, list):
        container.append(value)
    elif name not in container:
        container[name] = value
    elif not isinstance(container, Repeated):
        open_[-1] = (Repeated(container), own_name)
