"""Numbers in nested lists, kept apart from their nesting.

A text of nested lists of numbers is taken in without building the lists: its brackets alone must be those that lists of
one shape have, and with the brackets blanked out it is a plain list, which orjson reads fastest.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import orjson

# Whatever a number is written with becomes one letter.
_KINDS = bytes.maketrans(b"0123456789+-.eE", b"0" * 15)
_WITHOUT_BRACKETS = bytes.maketrans(b"[]", b"  ")
_BLANKS = b" \t\r\n"
# NumPy has 64 dimensions; real numbers have few.
MAX_DEPTH = 32


class Flat(NamedTuple):
    """The values of a nest of lists in order, and its shape; () for a value that is in no list."""

    values: list[Any]
    shape: tuple[int, ...]


def from_text(text: bytes) -> Flat | None:
    """What a text of nested lists holds; None unless it is well-formed, numbers only, and all of one shape."""
    skeleton = text.translate(_KINDS, _BLANKS)
    if _has_numbers_outside(skeleton):
        return None
    shape = _shape(skeleton.translate(None, b"0"))
    if shape is None:
        return None
    try:
        values = orjson.loads(b"[" + text.translate(_WITHOUT_BRACKETS) + b"]")
    except orjson.JSONDecodeError:
        return None
    return Flat(values, shape) if len(values) == math.prod(shape) else None


def _has_numbers_outside(skeleton: bytes) -> bool:
    """Whether a number stands before a list opens, or behind one that closes, without a comma between them."""
    bytes_ = np.frombuffer(skeleton, np.uint8)
    first, second = bytes_[:-1], bytes_[1:]
    is_before = (first == ord("0")) & (second == ord("["))
    is_behind = (first == ord("]")) & (second == ord("0"))
    return bool((is_before | is_behind).any())


def _shape(brackets: bytes) -> tuple[int, ...] | None:
    """The shape that brackets and commas have; None if they have none, or an empty list is among them."""
    depth = len(brackets) - len(brackets.lstrip(b"["))
    if not 0 < depth <= MAX_DEPTH:
        return None
    unit, sizes = b"", []
    for level in range(1, depth + 1):
        # The first list of this level ends where so many brackets close one after the other.
        end = brackets.find(b"]" * level) + level
        size = (end - (depth - level) - 1) // (len(unit) + 1)
        unit = b"[" + b",".join([unit] * size) + b"]"
        sizes.append(size)
    return tuple(reversed(sizes)) if unit == brackets else None


def from_lists(value: Any) -> Flat | None:
    """What a value holds that may be a nest of lists; None if lists side by side differ in size."""
    values: list[Any] = [value]
    shape: list[int] = []
    while values and set(map(type, values)) == {list}:
        sizes = set(map(len, values))
        if len(sizes) > 1 or len(shape) == MAX_DEPTH:
            return None
        shape.append(sizes.pop())
        values = list(itertools.chain.from_iterable(values))
    return Flat(values, tuple(shape))
