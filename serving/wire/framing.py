"""Protobuf's frames around arrays: what stands before values that follow as they lie in memory."""

from __future__ import annotations

import functools

import numpy as np

from serving.wire import messages_pb2 as pb
from serving.wire.tensors import BY_NUMPY

# Tags of length-delimited fields: (field number << 3) | 2. Of a map's entries, and of `TensorProto`.
KEY, VALUE, CONTENT, FLOATS, DOUBLES = 0x0A, 0x12, 0x22, 0x2A, 0x32


@functools.lru_cache(maxsize=4096)
def before_values(
    field: int, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], size: int, tag: int
) -> bytes:
    """An entry of the map `field`, from names to tensors, up to the tensor's values, which take `size` bytes under `tag`."""
    tensor = pb.TensorProto()
    tensor.dtype = BY_NUMPY[dtype].number  # type: ignore[assignment]
    tensor.tensor_shape.dim.extend(pb.TensorShapeProto.Dim(size=length) for length in shape)
    begin = tensor.SerializeToString() + head(tag, size)
    key = name.encode()
    entry = head(KEY, len(key)) + key + head(VALUE, len(begin) + size) + begin
    return head(field, len(entry) + size) + entry


@functools.lru_cache(maxsize=4096)
def head(tag: int, size: int) -> bytes:
    """What stands before `size` bytes of a field: its tag, and the size as a varint."""
    octets = bytearray([tag])
    while size > 0x7F:
        octets.append(size & 0x7F | 0x80)
        size >>= 7
    octets.append(size)
    return bytes(octets)
