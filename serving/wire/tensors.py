"""NumPy arrays to and from `TensorProto`.

Works on our own message class and on TensorFlow's alike, since both have the same fields. What is written equals
`tf.make_tensor_proto`, except that half, bool and uint16 travel as raw bytes too, where TensorFlow writes value by value.
What is accepted equals `tensorflow::Tensor::FromProto`:

* fewer values than the shape needs: the last one is repeated (none at all: zeros, empty strings);
* more values than the shape needs: the surplus is dropped;
* integers beyond the range of a small integer type wrap around;
* an unknown rank means a scalar.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidArgument
from serving.wire import messages_pb2 as pb

Array = npt.NDArray[Any]

# A tensor may announce a big shape and bring one value for all of it. No message can be larger than this anyhow.
MAX_TENSOR_BYTES = 2**31 - 1


class Kind(NamedTuple):
    """How one data type travels."""

    number: int  # of `DataType`
    numpy: np.dtype[Any]  # of the array
    field: str  # of `TensorProto`, that holds single values
    stored: np.dtype[Any]  # of the values in that field

    @property
    def is_string(self) -> bool:
        """Whether the values are bytes, in an array of objects."""
        return self.number == pb.DT_STRING


def _kind(number: int, numpy: str, field: str, stored: str | None = None) -> Kind:
    return Kind(number, np.dtype(numpy), field, np.dtype(stored or numpy))


KINDS = (
    _kind(pb.DT_FLOAT, "float32", "float_val"),
    _kind(pb.DT_DOUBLE, "float64", "double_val"),
    _kind(pb.DT_HALF, "float16", "half_val", "int32"),
    _kind(pb.DT_INT8, "int8", "int_val", "int32"),
    _kind(pb.DT_INT16, "int16", "int_val", "int32"),
    _kind(pb.DT_INT32, "int32", "int_val"),
    _kind(pb.DT_INT64, "int64", "int64_val"),
    _kind(pb.DT_UINT8, "uint8", "int_val", "int32"),
    _kind(pb.DT_UINT16, "uint16", "int_val", "int32"),
    _kind(pb.DT_UINT32, "uint32", "uint32_val"),
    _kind(pb.DT_UINT64, "uint64", "uint64_val"),
    _kind(pb.DT_BOOL, "bool", "bool_val"),
    _kind(pb.DT_STRING, "object", "string_val"),
)
BY_NUMBER = {kind.number: kind for kind in KINDS}
BY_NUMPY = {kind.numpy: kind for kind in KINDS}
NAMES = ", ".join("string" if kind.is_string else kind.numpy.name for kind in KINDS)


class TensorMessage(Protocol):
    """`TensorProto`, ours or TensorFlow's."""

    dtype: Any
    tensor_shape: Any
    tensor_content: bytes


def as_array(value: object) -> Array:
    """An array of `value`: an array, a number, bytes, text, or nested lists of one kind.

    Bytes and text become object arrays, since NumPy's own bytes type cuts trailing zero bytes off.
    """
    if isinstance(value, np.ndarray):
        return value.astype(object) if value.dtype.kind in "SU" else value
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    return np.asarray(value, dtype=object if isinstance(first, (bytes, str)) else None)


def fill(proto: TensorMessage, array: Array, *, typed: bool = False) -> None:
    """Writes `array` into the empty message `proto`.

    typed: values go into the typed field (`float_val`, ...) even where raw bytes would do. TensorFlow Serving answers
        so, and its clients read these fields.

    Raises InvalidArgument for a data type that TensorFlow Serving's clients don't share.
    """
    kind = BY_NUMPY.get(array.dtype.newbyteorder("="))
    if kind is None:
        raise InvalidArgument(f"Arrays of {array.dtype} cannot be sent. Expected one of: {NAMES}.")
    proto.dtype = kind.number
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if kind.is_string:
        proto.string_val.extend(_encode(item) for item in array.ravel())  # type: ignore[attr-defined]
    elif array.size > 1 and not typed:
        proto.tensor_content = np.ascontiguousarray(array, dtype=kind.numpy).tobytes()
    else:
        bits = array.view(np.uint16) if kind.number == pb.DT_HALF else array
        getattr(proto, kind.field).extend(bits.ravel().tolist())


def _encode(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    raise InvalidArgument(f"Expected bytes or text in an array of strings. Received: {type(item).__name__}.")


def to_array(proto: TensorMessage) -> Array:
    """The array in `proto`; may be read-only. Strings come as an object array of bytes.

    Raises InvalidArgument for what `tensorflow::Tensor::FromProto` refuses, too.
    """
    kind = BY_NUMBER.get(proto.dtype)
    if kind is None:
        raise InvalidArgument(f"Tensors of data type number {proto.dtype} are not supported. Expected one of: {NAMES}.")
    shape = () if proto.tensor_shape.unknown_rank else tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise InvalidArgument(f"A tensor's sizes cannot be negative. Received: {list(shape)}.")
    count = math.prod(shape)
    if count * kind.numpy.itemsize > MAX_TENSOR_BYTES:
        raise InvalidArgument(f"A tensor of shape {list(shape)} would exceed {MAX_TENSOR_BYTES} bytes.")
    if proto.tensor_content:
        return _from_content(proto.tensor_content, kind, count).reshape(shape)
    return _from_values(getattr(proto, kind.field), kind, count).reshape(shape)


def _from_content(content: bytes, kind: Kind, count: int) -> Array:
    if kind.is_string or len(content) != count * kind.numpy.itemsize:
        raise InvalidArgument(f"tensor_content holds {len(content)} bytes, which does not fit its type and shape.")
    return np.frombuffer(content, dtype=kind.numpy)


def _from_values(values: Any, kind: Kind, count: int) -> Array:
    if kind.is_string:
        array = np.full(count, values[-1] if values else b"", dtype=object)
        array[: len(values)] = values[:count]
        return array
    stored = np.array(values, dtype=kind.stored)[:count]
    if len(stored) < count:
        padding = stored[-1] if len(stored) else 0
        stored = np.concatenate([stored, np.full(count - len(stored), padding, dtype=kind.stored)])
    if kind.number == pb.DT_HALF:
        return stored.astype(np.uint16).view(np.float16)
    return stored.astype(kind.numpy, copy=False)
