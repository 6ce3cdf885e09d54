"""The exact way from JSON to arrays: value by value in TensorFlow Serving's order, which finds what is wrong first."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving import errors
from serving.server.rest import kinds
from serving.server.rest.flat import Flat
from serving.server.rest.json_in import is_base64, quote, type_name, wrong
from serving.server.rest.reader import Json
from serving.wire.tensors import Array

Inputs = Mapping[str, meta_graph_pb2.TensorInfo]

# Tensors have up to 254 dimensions in TensorFlow, arrays as many as these.
MAX_RANK = 64


def require_instances(fields: Mapping[str, Json]) -> None:
    """Raises InvalidArgument unless the rows are a list that has some."""
    if not isinstance(fields["instances"], list):
        raise wrong(fields, "Expecting 'instances' to be an list/array")
    if not fields["instances"]:
        raise wrong(fields, "No values in 'instances' array")


def rows(instances: Sequence[Json], wanted: Inputs) -> dict[str, Array]:
    """Each row is an object with the inputs' names, or the value of the only input; all rows are of one shape.

    Raises InvalidArgument.
    """
    if not isinstance(instances[0], dict) and len(wanted) > 1:
        raise errors.InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    found: dict[str, list[Flat]] = {}
    named = _is_named(instances[0])
    for position, row in enumerate(instances):
        if named:
            _add_named(found, row, position, wanted)
        elif _is_named(row):
            raise errors.InvalidArgument(f"Expecting value/list but got object at item {position} of input list")
        else:
            _add(found, min(wanted), row, wanted, f"element: {position}")
    return {name: _stacked(name, parts, wanted) for name, parts in found.items()}


def _is_named(row: Json) -> bool:
    return isinstance(row, dict) and not is_base64(row)


def _add_named(columns: dict[str, list[Flat]], row: Json, position: int, wanted: Inputs) -> None:
    if not _is_named(row):
        raise errors.InvalidArgument(f"Expecting object but got list at item {position} of input list")
    for name, value in row.items():
        _add(columns, name, value, wanted, f"element: {position} key: {name}")
    if row.keys() != wanted.keys():
        raise errors.InvalidArgument(
            f"Failed to process element: {position} of 'instances' list. JSON object: {quote(row)} "
            f"keys must be equal to: {','.join(sorted(wanted))}"
        )


def _add(columns: dict[str, list[Flat]], name: str, value: Json, wanted: Inputs, where: str) -> None:
    try:
        if name not in wanted:
            raise errors.InvalidArgument(f"JSON object: does not have named input: {name}")
        numbers = _numbers(value, wanted[name].dtype)
        rows = columns.setdefault(name, [])
        if rows:
            _require_equal(rows[0], numbers)
        rows.append(numbers)
    except errors.ServingError as error:
        raise errors.InvalidArgument(
            f"Failed to process {where} of 'instances' list. Error: {error.code.name}: {error.message}"
        ) from error


def _require_equal(first: Flat, other: Flat) -> None:
    if len(other.values) != len(first.values):
        raise errors.InvalidArgument(f"Expecting tensor size: {len(first.values)} but got: {len(other.values)}")
    if other.shape != first.shape:
        raise errors.InvalidArgument(f"Expecting shape {_shape(first)} but got: {_shape(other)}")


def _shape(numbers: Flat) -> str:
    return "[" + ",".join(map(str, numbers.shape)) + "]"


def _stacked(name: str, rows: Sequence[Flat], wanted: Inputs) -> Array:
    values = [value for row in rows for value in row.values]
    return _made(name, Flat(values, (len(rows), *rows[0].shape)), wanted)


def columns(inputs: Json, wanted: Inputs) -> dict[str, Array]:
    """The value of the only input, or an object with a value for each; others in it are ignored.

    Raises InvalidArgument, Unimplemented.
    """
    if not _is_named(inputs):
        if len(wanted) > 1:
            raise errors.InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        inputs = dict.fromkeys(wanted, inputs)
    made = {}
    for name, info in wanted.items():
        if name not in inputs:
            raise errors.InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
        made[name] = _made(name, _numbers(inputs[name], info.dtype), wanted)
    return made


def _made(name: str, numbers: Flat, wanted: Inputs) -> Array:
    if len(numbers.shape) > MAX_RANK:
        raise errors.InvalidArgument(f"tensor parsing error: {name}")
    dtype = wanted[name].dtype
    kind = kinds.KINDS.get(dtype)
    if kind is None:  # it has no values, or the first would have been refused
        return np.empty(numbers.shape, tf.as_dtype(dtype).as_numpy_dtype)
    return kinds.array(numbers, kind)


def _numbers(value: Json, dtype: int) -> Flat:
    """What nested lists hold; their shape is that of the first list at each level. Raises InvalidArgument."""
    shape = _first_shape(value)
    values: list[Json] = []
    open_ = [iter((value,))]
    while open_:
        for item in open_[-1]:
            level = len(open_) - 1
            if isinstance(item, list):
                _require_size(item, level, shape)
                open_.append(iter(item))
                break
            if level != len(shape):
                problem = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
                raise wrong(item, problem)
            _require_type(item, dtype)
            values.append(item)
        else:
            open_.pop()
    return Flat(values, shape)


def _first_shape(value: Json) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _require_size(items: Sequence[Json], level: int, shape: Sequence[int]) -> None:
    if level >= len(shape):
        raise errors.InvalidArgument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(items) != shape[level]:
        raise errors.InvalidArgument(
            f"Encountered list at unexpected size: {len(items)} at level: {level} expected size: {shape[level]}"
        )


def _require_type(value: Json, dtype: int) -> None:
    kind = kinds.KINDS.get(dtype)
    if kind is None and not isinstance(value, dict):
        raise errors.Unimplemented(f"Conversion of JSON Value: {quote(value)} to type: {kinds.type_text(dtype)}")
    if kind is not None and type(value) in kind.types:
        try:
            kinds.array(Flat([value], ()), kind)
        except (struct.error, OverflowError):
            pass
        else:
            return
    if kind is not None and kind.types is kinds.TEXT and isinstance(value, dict):
        raise wrong(value, "not formatted correctly for base64 data")
    raise wrong(value, f"Type: {type_name(value)} is not of expected type: {kinds.type_text(dtype)}")
