"""Arrays and tf.Examples in TensorFlow Serving's JSON, which has NaN and Infinity, and {"b64": ...} for bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from serving import errors
from serving.client.inputs import DTYPES
from serving.client.signatures import TensorSpec
from serving.wire import messages_pb2 as pb
from serving.wire.tensors import Array

# The types of JSON's values that are a NumPy kind's; other servers write 1.0 as 1.
_TYPES: Mapping[str, tuple[type, ...]] = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,), "O": (str, dict)}
_TAKEN = {np.dtype(name) for name in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?", "O")}


def dump(content: Mapping[str, object]) -> bytes:
    """As JSON. Floats have as many digits as tell them from their neighbours of the same type."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def load(text: bytes) -> Any:
    """What is in JSON of TensorFlow Serving's. Bytes in a text that are no UTF-8 are kept, as Python does (surrogateescape).

    Raises ValueError.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # which also stands for NaN, Infinity and raw bytes
        return json.loads(text.decode(errors="surrogateescape"), strict=False)


def written(name: str, array: Array) -> object:
    """What `dump` makes JSON of.

    Raises Unimplemented for data types that TensorFlow Serving does not read from JSON, InvalidArgument for a shape that JSON
    has no form for.
    """
    if array.dtype not in _TAKEN:
        raise errors.Unimplemented(
            f"Input {name!r} is {array.dtype}, which TensorFlow Serving takes over gRPC only. Use PredictClient."
        )
    if 0 in array.shape[:-1]:
        raise errors.InvalidArgument(
            f"Input {name!r} of shape {array.shape} is empty, and JSON would lose its shape. Use PredictClient."
        )
    if array.dtype.hasobject:
        return _map(array.tolist(), _encoded)
    if array.ndim == 0 or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        values = array.tolist()
        return orjson.Fragment(json.dumps(values, separators=(",", ":")))  # which knows NaN and Infinity
    return np.ascontiguousarray(array)


def read(value: object, spec: TensorSpec) -> Array:
    """The array of an output. Raises ValueError for what is not of `spec`'s type."""
    dtype = np.dtype(object) if spec.dtype == "string" else DTYPES.get(spec.dtype)
    first = _first(value)
    if dtype is None:
        raise ValueError(f"{spec.dtype} has no form in JSON")
    if not isinstance(first, list) and type(first) not in _TYPES.get(dtype.kind, ()):
        raise ValueError(f"expected {spec.dtype}, received {str(first)[:100]}")
    try:
        array = np.array(_map(value, _decoded) if dtype.hasobject else value, dtype)
    except (OverflowError, TypeError) as error:
        raise ValueError(f"expected {spec.dtype}: {error}") from error
    return array if array.size else array.reshape(_empty(value, spec))


def example(serialized: bytes) -> dict[str, object]:
    """A tf.Example. Raises what protobuf does for bytes that are none."""
    features = pb.Example.FromString(serialized).features.feature
    return {name: _feature(features[name]) for name in features}


def _feature(feature: pb.Feature) -> object:
    """A value alone says its kind: numbers with a fraction are floats, others are not."""
    if feature.HasField("bytes_list"):
        return [_encoded(value) for value in feature.bytes_list.value]
    if feature.HasField("float_list"):
        return orjson.Fragment(json.dumps(list(feature.float_list.value)))
    return list(feature.int64_list.value)


def _encoded(value: bytes | str) -> dict[str, str]:
    octets = value if isinstance(value, bytes) else value.encode()
    return {"b64": base64.b64encode(octets).decode()}


def _decoded(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    return base64.b64decode(value["b64"], validate=True)


def _map(value: Any, function: Any) -> Any:
    """Nested lists with what `function` makes of each value."""
    return [_map(item, function) for item in value] if isinstance(value, list) else function(value)


def _first(value: Any) -> object:
    """The first value in nested lists; an empty list is its own."""
    while isinstance(value, list) and value:
        value = value[0]
    return value


def _empty(value: Any, spec: TensorSpec) -> tuple[int, ...]:
    """The shape of a tensor without values: sizes after the first 0 are not in JSON, but the model tells them."""
    shape = np.array(value).shape
    return shape + tuple(size or 0 for size in (spec.shape or shape)[len(shape) :])
