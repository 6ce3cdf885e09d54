"""Reads `PredictResponse` from bytes: what the message class would read, without a copy of long tensors' values.

TensorFlow Serving answers with numbers in `float_val`, of each of which the message class makes an object of Python's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from serving.wire import messages_pb2 as pb
from serving.wire.framing import CONTENT, DOUBLES, FLOATS, KEY, VALUE
from serving.wire.tensors import Array, layout, to_array

_OUTPUTS, _SPEC = 0x0A, 0x12
# Of `TensorProto`: a number and a message.
_DTYPE, _SHAPE = 0x08, 0x12
_TYPES = {FLOATS: pb.DT_FLOAT, DOUBLES: pb.DT_DOUBLE}
# Below so many bytes the message class is faster.
_LONG = 4096
# Answers of so many lengths are remembered.
_MOST = 256


class _View(NamedTuple):
    """An output whose values are in one piece, from `begin` to `end`."""

    name: str
    begin: int
    end: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, data: bytes) -> Array:
        array: Array = np.ndarray(self.shape, self.dtype, data, self.begin)
        return array


class _Message(NamedTuple):
    """Another output, a message from `begin` to `end`."""

    name: str
    begin: int
    end: int

    def read(self, data: bytes) -> Array:
        return to_array(pb.TensorProto.FromString(data[self.begin : self.end]))


class _Frame(NamedTuple):
    """Where the outputs are, and all the bytes between them, by where they begin: the same for answers of the same shapes."""

    outputs: list[_View | _Message]
    between: list[tuple[int, bytes]]
    version: int

    def fits(self, data: bytes) -> bool:
        """Whether an answer of the same length has this frame."""
        for begin, part in self.between:  # which takes half as long as all() of a generator  # noqa: SIM110
            if not data.startswith(part, begin):
                return False
        return True


_frames: dict[int, _Frame] = {}


def predict_response(data: bytes) -> tuple[dict[str, Array], int]:
    """Arrays by output, and the version that answered; arrays may be read-only, and not aligned.

    Raises protobuf's DecodeError for bytes that are no message, InvalidArgument for tensors that `to_array` refuses.
    """
    if len(data) >= _LONG:
        frame = _frames.get(len(data))
        if frame is None or not frame.fits(data):
            frame = _framed(data)
        if frame is not None:
            return {output.name: output.read(data) for output in frame.outputs}, frame.version
    message = pb.PredictResponse.FromString(data)
    return {name: to_array(tensor) for name, tensor in message.outputs.items()}, message.model_spec.version.value


def _framed(data: bytes) -> _Frame | None:
    """The frame, which is remembered; None for bytes that are no message, or one of unusual form."""
    try:
        frame = _frame(data)
    except (IndexError, ValueError):
        return None
    if len(_frames) >= _MOST:
        _frames.clear()
    _frames[len(data)] = frame
    return frame


def _frame(data: bytes) -> _Frame:
    outputs, spec = [], pb.ModelSpec()
    for tag, begin, end in _fields(data, 0, len(data)):
        if tag == _OUTPUTS:
            (key, name_from, name_to), (value, start, stop) = _fields(data, begin, end)
            if (key, value) != (KEY, VALUE):
                raise ValueError("an entry of another form")
            name = data[name_from:name_to].decode()
            outputs.append(_view(data, name, start, stop) or _Message(name, start, stop))
        elif tag == _SPEC:
            spec.MergeFromString(data[begin:end])
    edges = [0, *[edge for output in outputs for edge in (output.begin, output.end)], len(data)]
    between = [(begin, data[begin:end]) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
    return _Frame(outputs, between, spec.version.value)


def _view(data: bytes, name: str, begin: int, end: int) -> _View | None:
    """Of a tensor with all its values in one piece; else None."""
    fields = list(_fields(data, begin, end))
    if len(fields) != 3:
        return None
    (first, number, _), (second, shape_from, shape_to), (tag, start, stop) = fields
    if first != _DTYPE or second != _SHAPE or (tag != CONTENT and _TYPES.get(tag) != number):
        return None
    kind, shape, count = layout(number, data[shape_from:shape_to])
    if kind.is_string or stop - start != count * kind.numpy.itemsize:
        return None
    return _View(name, start, stop, kind.numpy, shape)


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Tag, and where the value begins and ends; of a number, the number and where it ends.

    Raises IndexError, ValueError for bytes that are no message, or one of another kind.
    """
    while start < stop:
        tag, number = data[start], data[start + 1]
        start += 2
        if number >= 0x80:  # which most are not
            number, start = _varint(data, start - 1)
        kind = tag & 7
        if kind == 2:
            begin, start = start, start + number
        elif kind == 0:
            begin = number
        if kind not in (0, 2) or not 0x08 <= tag < 0x80 or start > stop:
            raise ValueError("no message, or one of another kind")
        yield tag, begin, start


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """The number, and where it ends. Raises IndexError, ValueError if it has no end."""
    number = 0
    for shift in range(0, 70, 7):
        octet = data[start]
        start += 1
        number |= (octet & 0x7F) << shift
        if octet < 0x80:
            return number, start
    raise ValueError("a number of more than 64 bits")
