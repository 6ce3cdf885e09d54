"""How values of each data type come in JSON, and what arrays become of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tensorflow.core.framework import types_pb2

from serving.server.rest import base64
from serving.server.rest.flat import Flat
from serving.server.rest.json_in import is_base64, wrong
from serving.server.rest.reader import Json
from serving.wire.tensors import Array


class Kind(NamedTuple):
    """How values of a data type come in JSON."""

    types: frozenset[type]
    code: str
    """Of `struct`, which refuses what is out of this type's range."""
    numpy: npt.DTypeLike


def _integers(code: str, numpy: npt.DTypeLike) -> Kind:
    return Kind(frozenset({int}), code, numpy)


_REAL: frozenset[type] = frozenset({int, float})
TEXT: frozenset[type] = frozenset({str, dict})
KINDS = {
    types_pb2.DT_FLOAT: Kind(_REAL, "d", np.float32),
    types_pb2.DT_DOUBLE: Kind(_REAL, "d", np.float64),
    # Integers of 32 bits are taken, and wrap around.
    types_pb2.DT_INT32: _integers("i", np.int32),
    types_pb2.DT_INT16: _integers("i", np.int16),
    types_pb2.DT_INT8: _integers("i", np.int8),
    types_pb2.DT_UINT8: _integers("i", np.uint8),
    types_pb2.DT_INT64: _integers("q", np.int64),
    types_pb2.DT_UINT32: _integers("I", np.uint32),
    types_pb2.DT_UINT64: _integers("Q", np.uint64),
    types_pb2.DT_BOOL: Kind(frozenset({bool}), "?", np.bool_),
    types_pb2.DT_STRING: Kind(TEXT, "", np.object_),
}


def type_text(dtype: int) -> str:
    """A data type as TensorFlow's C++ code calls it: float, int32, half, ..."""
    name: str = types_pb2.DataType.Name(dtype)
    return name.removeprefix("DT_").lower()


def array(numbers: Flat, kind: Kind) -> Array:
    """The array of values whose types are right.

    Raises struct.error or OverflowError for what is out of range, InvalidArgument for wrong base64.
    """
    if kind.types is TEXT:
        strings = np.empty(len(numbers.values), dtype=np.object_)
        strings[:] = [_bytes(value) for value in numbers.values]
        return strings.reshape(numbers.shape)
    with np.errstate(over="ignore"):  # a double beyond float's range becomes infinity
        return _packed(numbers.values, kind.code).astype(kind.numpy).reshape(numbers.shape)


def _packed(values: Sequence[Any], code: str) -> Array:
    try:
        return np.frombuffer(bytes(values), np.uint8)  # of integers from 0 to 255, as pixels are, this is quickest
    except (TypeError, ValueError):
        return np.frombuffer(struct.pack(f"={len(values)}{code}", *values), dtype=f"={code}")


def _bytes(value: Json) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    if not is_base64(value):
        raise wrong(value, "not formatted correctly for base64 data")
    return base64.decode(value["b64"])
