"""Answers as RapidJSON writes them: indented by four blanks; numbers, strings and lists as TensorFlow Serving has them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving import errors
from serving.server.rest import base64, decimals
from serving.wire.tensors import Array

INDENT = " " * 4

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES |= {chr(code): f"\\u{code:04X}" for code in range(32) if chr(code) not in _ESCAPES}
_SPECIAL = re.compile('["\\\\\x00-\x1f]')
_INTEGERS = (np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint32, np.uint64)
# Stand for a value in the text of an array, and between two such texts; no JSON has them.
_SLOT = "\x00"
_BREAK = "\x01"


def error(message: str) -> bytes:
    """The body of a failed request."""
    return encoded(f'{{\n{INDENT}"error": {string(message)}\n}}')


def encoded(text: str) -> bytes:
    """The bytes of an answer. Strings of a model that are not UTF-8 leave it as they are."""
    return text.encode(errors="surrogateescape")


def string(text: str) -> str:
    """A JSON string."""
    return '"' + _SPECIAL.sub(lambda match: _ESCAPES[match.group()], text) + '"'


def answer(key: str, text: str) -> bytes:
    """The body of a good answer, whose only member is `key`."""
    return encoded(f'{{\n{INDENT}"{key}": {text}\n}}')


def predictions(outputs: Mapping[str, Array]) -> bytes:
    """The answer to a request by row: one element an example. Raises InvalidArgument if outputs have no common batch."""
    _require_batch(outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return answer("predictions", closed_below(_one_line(array, name, 1)))
    columns = [[string(name) + ": " + row for row in _rows(array, name)] for name, array in outputs.items()]
    return answer("predictions", _listed([_object(members, 3) for members in zip(*columns, strict=True)], 1))


def closed_below(text: str) -> str:
    """A list that is opened on one line and closed on a line of its own, as RapidJSON does where the format changes."""
    return text if text == "[]" else f"{text[:-1]}\n{INDENT}]"


def columns(outputs: Mapping[str, Array]) -> bytes:
    """The answer to a request by column: every output as it is, a line for each value. Raises InvalidArgument."""
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        text = _one_value_a_line(array, name, 1)
    else:
        text = _object([f"{string(n)}: {_one_value_a_line(array, n, 2)}" for n, array in outputs.items()], 2)
    return answer("outputs", text)


def _require_batch(outputs: Mapping[str, Array]) -> None:
    if not outputs:
        raise errors.InvalidArgument("Cannot convert empty tensor map to JSON")
    size: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise errors.InvalidArgument(f"Tensor name: {name} has no shape information ")
        if size is not None and len(array) != size:
            raise errors.InvalidArgument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)


def _object(members: Sequence[str], level: int) -> str:
    """An object whose members are on lines indented by `level` steps."""
    line = "\n" + INDENT * level
    return "{" + line + f",{line}".join(members) + "\n" + INDENT * (level - 1) + "}"


def _listed(items: Sequence[str], level: int) -> str:
    """A list, at `level` steps, with a line for each item."""
    if not items:
        return "[]"
    line = "\n" + INDENT * (level + 1)
    return "[" + line + f",{line}".join(items) + "\n" + INDENT * level + "]"


def _rows(array: Array, name: str) -> list[str]:
    """The text of each example, on one line."""
    slots = _nest(array.shape[1:], one_line, 3)
    rows = _filled(_BREAK.join([slots] * len(array)), _texts(array, name, 3 + array.ndim - 1))
    return rows.split(_BREAK) if len(array) else []


def one_line(items: Sequence[str], level: int = 0) -> str:
    """A list on one line; its level does not matter."""
    return "[" + ", ".join(items) + "]"


def _one_line(array: Array, name: str, level: int) -> str:
    slots = _nest(array.shape, one_line, level)
    return _filled(slots, _texts(array, name, level + array.ndim))


def _one_value_a_line(array: Array, name: str, level: int) -> str:
    return _filled(_nest(array.shape, _listed, level), _texts(array, name, level + array.ndim))


def _nest(shape: Sequence[int], listed: Callable[[Sequence[str], int], str], level: int) -> str:
    """The text of an array with slots for its values."""
    text = _SLOT
    for depth in reversed(range(len(shape))):
        text = listed([text] * shape[depth], level + depth)
    return text


def _filled(slots: str, values: Sequence[str]) -> str:
    return "".join(itertools.chain.from_iterable(zip(slots.split(_SLOT), [*values, ""], strict=True)))


def _texts(array: Array, name: str, level: int) -> Sequence[str]:
    """Each value as JSON, in order. Raises InvalidArgument for a type that JSON cannot carry."""
    if array.dtype in (np.float32, np.float64):
        return decimals.texts(array.ravel())
    if array.dtype in _INTEGERS:
        return list(map(str, array.ravel().tolist()))
    if array.dtype == np.bool_:
        return ["true" if value else "false" for value in array.ravel().tolist()]
    if array.dtype.kind in "OSU":
        write = _base64_object(level) if name.endswith("_bytes") else _raw_string
        return [write(value if isinstance(value, bytes) else str(value).encode()) for value in array.ravel().tolist()]
    raise errors.InvalidArgument(f"Failed to write JSON value for tensor type: {_type_text(array.dtype)}")


def _type_text(dtype: np.dtype[Any]) -> str:
    return "half" if dtype == np.float16 else str(tf.as_dtype(dtype).name)


def _raw_string(value: bytes) -> str:
    return string(value.decode(errors="surrogateescape"))


def _base64_object(level: int) -> Callable[[bytes], str]:
    return lambda value: _object([f'"b64": "{base64.encode(value)}"'], level + 1)


def pretty(value: Any) -> Iterator[str]:
    """The text of a parsed value, piece by piece, however deep it is nested."""
    open_: list[tuple[Iterator[Any], str]] = [(iter((("", value),)), "")]
    first = True
    while open_:
        items, end = open_[-1]
        for lead, item in items:
            if len(open_) > 1:
                yield ("" if first else ",") + "\n" + INDENT * (len(open_) - 1)
            first = False
            yield lead
            if isinstance(item, dict) and item:
                open_.append((((string(name) + ": ", part) for name, part in item.items()), "}"))
                yield "{"
            elif isinstance(item, list) and item:
                open_.append(((("", part) for part in item), "]"))
                yield "["
            else:
                yield _scalar(item)
                continue
            first = True
            break
        else:
            open_.pop()
            first = False
            if end:
                yield "\n" + INDENT * (len(open_) - 1) + end


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return string(value)
    if isinstance(value, float):
        return decimals.texts(np.array([value]))[0]
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
