"""Random damage to bytes, and the smallest request that still shows what a damaged one showed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)
# Varints that matter: -1, 2^31, 2^62, one that never ends.
VARINTS = (b"\xff" * 9 + b"\x01", b"\x80\x80\x80\x80\x08", b"\x80" * 8 + b"\x40", b"\xff" * 12)


def mutate(seed: bytes, draw: random.Random) -> bytes:
    """`seed` with one to four random changes; sometimes nothing but random bytes."""
    if draw.random() < 0.05:
        return draw.randbytes(draw.choice((0, 1, 2, 5, 20, 300)))
    content = bytearray(seed)
    for _ in range(draw.randint(1, 4)):
        draw.choice((_flip, _set, _cut, _repeat, _insert, _varint, _swap))(content, draw)
    return bytes(content)


def _place(content: bytearray, draw: random.Random) -> int:
    """Half of the time near the beginning, where lengths and names are."""
    end = max(len(content), 1)
    return draw.randrange(min(end, 64)) if draw.random() < 0.5 else draw.randrange(end)


def _flip(content: bytearray, draw: random.Random) -> None:
    if content:
        content[_place(content, draw)] ^= 1 << draw.randrange(8)


def _set(content: bytearray, draw: random.Random) -> None:
    if content:
        content[_place(content, draw)] = draw.choice(NUMBERS)


def _cut(content: bytearray, draw: random.Random) -> None:
    begin = _place(content, draw)
    end = len(content) if draw.random() < 0.3 else begin + draw.randint(1, 16)
    del content[begin:end]


def _repeat(content: bytearray, draw: random.Random) -> None:
    begin = _place(content, draw)
    content[begin:begin] = content[begin : begin + draw.randint(1, 32)] * draw.randint(1, 5)


def _insert(content: bytearray, draw: random.Random) -> None:
    begin = _place(content, draw)
    content[begin:begin] = draw.randbytes(draw.randint(1, 8))


def _varint(content: bytearray, draw: random.Random) -> None:
    begin = _place(content, draw)
    content[begin : begin + 1] = draw.choice(VARINTS)


def _swap(content: bytearray, draw: random.Random) -> None:
    begin, end = sorted((_place(content, draw), _place(content, draw)))
    content[begin:end] = content[begin:end][::-1]


def change_field(message: Message, draw: random.Random) -> None:
    """Sets one field, at any depth, to an unusual value, or clears it; the message stays a message."""
    present = [value for field, value in message.ListFields() if field.message_type]
    inner = [item for value in present for item in _messages(value)]
    if inner and draw.random() < 0.75:
        change_field(draw.choice(inner), draw)
        return
    field = draw.choice(message.DESCRIPTOR.fields or [None])
    if field is None or draw.random() < 0.1:
        message.Clear()
    elif field.message_type is None:
        value = _scalar(field.cpp_type, draw)
        value = value.encode() if field.type == field.TYPE_BYTES else value
        if isinstance(getattr(message, field.name), (str, bytes, int, float)):
            setattr(message, field.name, value)
        else:
            getattr(message, field.name).extend([value] * draw.choice((1, 3)))
    elif draw.random() < 0.5:
        message.ClearField(field.name)


def _messages(value: Any) -> list[Message]:
    if isinstance(value, Message):
        return [value]
    items = value.values() if hasattr(value, "values") else value
    return [item for item in items if isinstance(item, Message)]


def _scalar(kind: int, draw: random.Random) -> Any:
    """By protobuf's cpp_type."""
    whole = draw.choice((0, 1, 2, 127))
    if kind in (1, 2, 8):  # signed
        return draw.choice((whole, -1, 2**31 - 1, 2**63 - 1 if kind == 2 else -(2**31)))
    if kind == 9:
        return draw.choice(("", "x", "serving_default", "classify", "\0", "\u20ac" * 100, "a/b:c%2F", "x" * 5000))
    return {3: whole, 4: whole, 5: float("nan"), 6: float("inf"), 7: True, 10: whole}[kind]


JSON_VALUES = (
    *(None, True, 0, -1, 1.5, 1e39, float("nan"), float("-inf"), 2**31, 2**63, 10**400, "", "\0\ud800", "\u20ac"),
    *(
        [],
        [[]],
        {},
        {"b64": "YQ=="},
        {"b64": "!"},
        {"b64": 1},
        {"b64": "YQ==", "x": 1},
        [1, [2]],
        [[1], [2, 3]],
        "serving_default",
    ),
)


def change_json(value: Any, draw: random.Random) -> Any:
    """A copy of a JSON value in which one or two places hold something else, or nothing."""
    value = copy.deepcopy(value)
    for _ in range(draw.randint(1, 2)):
        value = _change_one(value, draw)
    return value


def _change_one(value: Any, draw: random.Random) -> Any:
    if not isinstance(value, (list, dict)) or not value or draw.random() < 0.2:
        return copy.deepcopy(draw.choice(JSON_VALUES))
    place = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
    if draw.random() < 0.2:
        del value[place]
    else:
        value[place] = _change_one(value[place], draw)
    return value


def minimise(request: bytes, still: Callable[[bytes], bool], tries: int = 200) -> bytes:
    """Leaves out of `request` whatever it can while `still(request)` holds; asks at most `tries` times."""
    piece = max(len(request) // 2, 1)
    while tries > 0:
        begin = 0
        while begin < len(request) and tries > 0:
            shorter = request[:begin] + request[begin + piece :]
            tries -= 1
            if still(shorter):
                request = shorter
            else:
                begin += piece
        if piece == 1:
            break
        piece = max(piece // 2, 1)
    return request
