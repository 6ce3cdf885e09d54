"""JSON of TensorFlow Serving's REST interface to and from arrays.

Requests come by row ({"instances": [...]}, a new batch axis in front) or by column ({"inputs": ...}, taken as it is).
Bytes are written as {"b64": "..."}.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import InvalidArgument, Unimplemented
from serving.wire.tensors import Array

Inputs = Mapping[str, meta_graph_pb2.TensorInfo]

# Malformed input is quoted in errors up to this many characters.
QUOTE_LENGTH = 256


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a predict request. Raises InvalidArgument."""
    if not body.strip():
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        offset = error.pos if isinstance(error, json.JSONDecodeError) else error.start
        raise InvalidArgument(f"JSON Parse error: Invalid value. at offset: {offset}") from error
    except RecursionError:
        raise InvalidArgument("JSON Parse error: nested too deeply") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {_quote(document)} Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise InvalidArgument("'signature_name' key must be a string value.")
    return document


def is_row_format(document: Mapping[str, Any]) -> bool:
    """Whether a request comes by row. Raises InvalidArgument unless it has exactly one of "instances" and "inputs"."""
    if "instances" in document and "inputs" in document:
        raise InvalidArgument("Not formatted correctly expecting only one of 'instances' or 'inputs' keys")
    if "instances" not in document and "inputs" not in document:
        raise InvalidArgument("Missing 'inputs' or 'instances' key")
    return "instances" in document


def inputs_by_row(instances: object, wanted: Inputs) -> dict[str, Array]:
    """Arrays from a list of examples. Raises InvalidArgument."""
    if not isinstance(instances, list):
        raise InvalidArgument("Expecting 'instances' to be an list/array")
    if not instances:
        raise InvalidArgument("No values in 'instances' array")
    rows = [_row(instance, wanted, position) for position, instance in enumerate(instances)]
    try:
        return {name: _array([row[name] for row in rows], info, name) for name, info in wanted.items()}
    except Unimplemented as error:
        raise InvalidArgument(error.message) from error


def inputs_by_column(inputs: object, wanted: Inputs) -> dict[str, Array]:
    """Arrays from values that have their batch axis already. Raises InvalidArgument."""
    if len(wanted) == 1 and (not isinstance(inputs, dict) or set(inputs) == {"b64"}):
        inputs = {next(iter(wanted)): inputs}
    if not isinstance(inputs, dict):
        raise InvalidArgument(f"Expecting an object with the inputs {_names(wanted)}. Received: {_quote(inputs)}")
    for name in wanted:
        if name not in inputs:
            raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(inputs[name], info, name) for name, info in wanted.items()}


def _row(instance: object, wanted: Inputs, position: int) -> dict[str, Any]:
    is_object = isinstance(instance, dict) and set(instance) != {"b64"}
    if len(wanted) == 1 and not is_object:
        return {next(iter(wanted)): instance}
    if not isinstance(instance, dict) or not is_object:
        raise InvalidArgument(f"Expecting object but got list at item {position} of input list")
    if set(instance) != set(wanted):
        raise InvalidArgument(
            f"Failed to process element: {position} of 'instances' list. Keys must be equal to: {_names(wanted)}"
        )
    return instance


def _array(value: object, info: meta_graph_pb2.TensorInfo, name: str) -> Array:
    dtype = tf.as_dtype(info.dtype)
    try:
        return _strings(value) if dtype == tf.string else _numbers(value, dtype)
    except InvalidArgument as error:
        raise InvalidArgument(f"Failed to process input {name!r}: {error.message}") from error


def _strings(value: object) -> Array:
    if isinstance(value, list):
        parts = [_strings(item) for item in value]
        if len({part.shape for part in parts}) > 1:
            raise InvalidArgument("Encountered lists of unequal size or depth")
        return np.stack(parts) if parts else np.empty(0, dtype=object)
    array = np.empty((), dtype=object)
    array[()] = _bytes(value)
    return array


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        text = value["b64"]
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidArgument("Unable to base64 decode") from None
    raise InvalidArgument(f"JSON Value: {_quote(value)} is not of expected type: string")


# JSON kinds (of NumPy) that an input of a kind takes: floats take integers too, nothing else mixes.
_ACCEPTED = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}
_SUPPORTED = (tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64, tf.bool)


def _numbers(value: object, dtype: tf.DType) -> Array:
    if dtype not in _SUPPORTED:
        raise Unimplemented(f"JSON cannot carry tensors of type {dtype.name}")
    try:
        array = np.array(value)
    except ValueError:
        raise InvalidArgument("Encountered lists of unequal size or depth") from None
    wanted = dtype.as_numpy_dtype
    # An empty list has no kind of its own.
    if array.size and array.dtype.kind not in _ACCEPTED[np.dtype(wanted).kind]:
        raise InvalidArgument(f"JSON Value: {_quote(value)} is not of expected type: {dtype.name}")
    with np.errstate(over="ignore"):  # a double beyond float's range becomes infinity
        return array.astype(wanted)


def _quote(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= QUOTE_LENGTH else text[:QUOTE_LENGTH] + "..."


def _names(wanted: Iterable[str]) -> str:
    return ",".join(sorted(wanted))


def predictions(outputs: Mapping[str, Array]) -> str:
    """The answer to a request by row: one element an example. Raises InvalidArgument if outputs have no common batch."""
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidArgument(f"Tensor name: {name} has no shape information")
    sizes = {len(array) for array in outputs.values()}
    if len(sizes) > 1:
        raise InvalidArgument(f"Outputs have inconsistent batch sizes: {sorted(sizes)}")
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _answer("predictions", _text(array, name))
    rows = [
        _object({name: _text(array[row], name) for name, array in outputs.items()}, 8) for row in range(sizes.pop())
    ]
    return _answer("predictions", "[" + ", ".join(rows) + "]")


def columns(outputs: Mapping[str, Array]) -> str:
    """The answer to a request by column: every output as it is."""
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _answer("outputs", _text(array, name))
    return _answer("outputs", _object({name: _text(array, name) for name, array in outputs.items()}, 8))


def document(value: Mapping[str, Any]) -> str:
    """Any other answer: indented by one blank, as protobuf's JSON is."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def error(message: str) -> str:
    """The body of a failed request."""
    return _object({"error": json.dumps(message, ensure_ascii=False)}, 4)


def _answer(key: str, text: str) -> str:
    return _object({key: text}, 4)


def _object(members: Mapping[str, str], indent: int) -> str:
    lines = [f"{' ' * indent}{json.dumps(name)}: {text}" for name, text in members.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * (indent - 4) + "}"


def _text(value: Any, name: str) -> str:
    if isinstance(value, np.ndarray):
        return "[" + ", ".join(_text(item, name) for item in value) + "]" if value.ndim else _text(value[()], name)
    if isinstance(value, bytes):
        if name.endswith("_bytes"):
            return json.dumps({"b64": base64.b64encode(value).decode()})
        return json.dumps(value.decode(errors="replace"), ensure_ascii=False)
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    if isinstance(value, np.float16):
        raise InvalidArgument("Failed to write JSON value for tensor type: half")
    return _float_text(value) if isinstance(value, np.floating) else str(value)


def _float_text(value: Any) -> str:
    """The shortest of %.6g and %.9g (%.17g for double) that reads back as the same number."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{float(value):.6g}"
    if value.dtype.type(text) != value:
        text = f"{float(value):.{17 if value.dtype == np.float64 else 9}g}"
    return text if "." in text or "e" in text else text + ".0"
