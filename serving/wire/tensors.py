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

import functools
import math
from typing import Any, NamedTuple, Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from serving.errors import InvalidArgument
from serving.wire import messages_pb2 as pb

Array = npt.NDArray[Any]

# No message can be larger than this anyhow.
MAX_TENSOR_BYTES = 2**31 - 1
# A tensor may announce a big shape and bring few values for it; the last is repeated, up to here.
MAX_REPEATED_BYTES = 2**28
MAX_REPEATED_STRINGS = 2**20  # which Python and TensorFlow look at one by one
# NumPy's limit; TensorFlow's is 254.
MAX_DIMENSIONS = 64


class Kind(NamedTuple):
    """How one data type travels."""

    number: int  # of `DataType`
    numpy: np.dtype[Any]  # of the array
    field: str  # of `TensorProto`, that holds single values
    stored: np.dtype[Any]  # of the values in that field
    bits: np.dtype[Any] | None = None  # what an array's memory is read as for that field; None: its values as they are

    @property
    def is_string(self) -> bool:
        """Whether the values are bytes, in an array of objects."""
        return self.number == pb.DT_STRING


def _kind(number: int, numpy: npt.DTypeLike, field: str, stored: str | None = None, bits: str | None = None) -> Kind:
    return Kind(number, np.dtype(numpy), field, np.dtype(stored or numpy), np.dtype(bits) if bits else None)


KINDS = (
    _kind(pb.DT_FLOAT, "float32", "float_val"),
    _kind(pb.DT_DOUBLE, "float64", "double_val"),
    _kind(pb.DT_HALF, "float16", "half_val", "int32", "uint16"),
    _kind(pb.DT_BFLOAT16, ml_dtypes.bfloat16, "half_val", "int32", "uint16"),
    _kind(pb.DT_INT8, "int8", "int_val", "int32"),
    _kind(pb.DT_INT16, "int16", "int_val", "int32"),
    _kind(pb.DT_INT32, "int32", "int_val"),
    _kind(pb.DT_INT64, "int64", "int64_val"),
    _kind(pb.DT_UINT8, "uint8", "int_val", "int32"),
    _kind(pb.DT_UINT16, "uint16", "int_val", "int32"),
    _kind(pb.DT_UINT32, "uint32", "uint32_val"),
    _kind(pb.DT_UINT64, "uint64", "uint64_val"),
    _kind(pb.DT_BOOL, "bool", "bool_val"),
    _kind(pb.DT_COMPLEX64, "complex64", "scomplex_val", "float32", "float32"),
    _kind(pb.DT_COMPLEX128, "complex128", "dcomplex_val", "float64", "float64"),
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
        values = np.ascontiguousarray(array).ravel()
        getattr(proto, kind.field).extend((values.view(kind.bits) if kind.bits else values).tolist())


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
    kind, shape, count = layout(proto.dtype, proto.tensor_shape.SerializeToString())
    content = proto.tensor_content
    array = _from_content(content, kind, count) if content else _from_values(getattr(proto, kind.field), kind, count)
    return array.reshape(shape)


# A client's tensors have few shapes, and reading one costs more than the rest of a small tensor.
@functools.lru_cache(maxsize=1024)
def layout(dtype: int, serialized_shape: bytes) -> tuple[Kind, tuple[int, ...], int]:
    """Kind, shape, and number of values."""
    kind = BY_NUMBER.get(dtype)
    if kind is None:
        raise InvalidArgument(f"Tensors of data type number {dtype} are not supported. Expected one of: {NAMES}.")
    proto = pb.TensorShapeProto.FromString(serialized_shape)
    shape = () if proto.unknown_rank else tuple(dim.size for dim in proto.dim)
    if any(size < 0 for size in shape):
        raise InvalidArgument(f"A tensor's sizes cannot be negative. Received: {list(shape)}.")
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidArgument(f"A tensor has at most {MAX_DIMENSIONS} dimensions. Received: {len(shape)}.")
    count = math.prod(shape)
    # A size of 0 makes it empty, however large the others are.
    if max(count, *shape, 1) * kind.numpy.itemsize > MAX_TENSOR_BYTES:
        raise InvalidArgument(f"A tensor of shape {list(shape)} would exceed {MAX_TENSOR_BYTES} bytes.")
    return kind, shape, count


def _from_content(content: bytes, kind: Kind, count: int) -> Array:
    if kind.is_string or len(content) != count * kind.numpy.itemsize:
        raise InvalidArgument(f"tensor_content holds {len(content)} bytes, which does not fit its type and shape.")
    return np.frombuffer(content, dtype=kind.numpy)


def _from_values(values: Any, kind: Kind, count: int) -> Array:
    array = _as_stored(values, kind)[:count]
    absent = count - len(array)
    if not absent:
        return array
    most = MAX_REPEATED_STRINGS if kind.is_string else MAX_REPEATED_BYTES // kind.numpy.itemsize
    if count > most:
        raise InvalidArgument(f"A tensor of {count} values brings {len(array)} of them. Expected all above {most}.")
    if len(array) <= 1:
        value = array if len(array) else np.full(1, b"" if kind.is_string else 0, dtype=kind.numpy)
        return np.broadcast_to(value, count)
    return np.concatenate([array, np.broadcast_to(array[-1:], absent)])


def _as_stored(values: Any, kind: Kind) -> Array:
    """The values of a typed field as an array of the tensor's type."""
    if kind.is_string:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    stored = np.array(values, dtype=kind.stored)
    if not kind.bits:
        return stored.astype(kind.numpy, copy=False)
    width = kind.numpy.itemsize // kind.bits.itemsize
    return stored[: len(stored) // width * width].astype(kind.bits).view(kind.numpy)
