"""The inputs of a predict request: by row ({"instances": [...]}) or by column ({"inputs": ...}), to arrays.

There are two ways through. The quick one takes what is in order without a step for each value; what it does not take goes
the `exact` one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from serving import errors
from serving.server.rest import exact, kinds
from serving.server.rest.exact import Inputs
from serving.server.rest.flat import Flat, from_lists
from serving.server.rest.json_in import Document, is_base64, wrong
from serving.wire.tensors import Array


def is_row_format(fields: Mapping[str, Any], document: Document) -> bool:
    """Whether a request comes by row. Raises InvalidArgument unless it has exactly one of "instances" and "inputs"."""
    if "instances" in fields and "inputs" in fields:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise wrong(document.plain(), problem)
    if "instances" not in fields and "inputs" not in fields:
        raise errors.InvalidArgument("Missing 'inputs' or 'instances' key")
    return "instances" in fields


def arrays(document: Document, wanted: Inputs) -> tuple[dict[str, Array], bool]:
    """The inputs of a request by name, and whether they came by row. Raises InvalidArgument, Unimplemented."""
    by_row = is_row_format(document.fields, document)
    quick, slow = (_quick_rows, exact.rows) if by_row else (_quick_columns, exact.columns)
    key = "instances" if by_row else "inputs"
    inputs = quick(document.fields[key], wanted)
    if inputs is None:
        plain = document.plain()
        if by_row:
            exact.require_instances(plain)
        inputs = slow(plain[key], wanted)
    return inputs, by_row


def _quick_rows(instances: Any, wanted: Inputs) -> dict[str, Array] | None:
    if len(wanted) == 1 and _has_plain_rows(instances):
        ((name, info),) = wanted.items()
        array = _quick_array(instances, info.dtype)
        return None if array is None else {name: array}
    if not isinstance(instances, list) or not instances or set(map(type, instances)) != {dict}:
        return None
    if any(map(is_base64, instances)) or any(row.keys() != wanted.keys() for row in instances):
        return None
    return _quick_arrays({name: [row[name] for row in instances] for name in wanted}, wanted)


def _has_plain_rows(instances: Any) -> bool:
    """Whether no row is an object with names of inputs."""
    if isinstance(instances, Flat):
        return True
    if not isinstance(instances, list) or not instances:
        return False
    return dict not in set(map(type, instances)) or all(map(is_base64, instances))


def _quick_columns(inputs: Any, wanted: Inputs) -> dict[str, Array] | None:
    if not isinstance(inputs, dict) or is_base64(inputs):
        return _quick_arrays(dict.fromkeys(wanted, inputs), wanted) if len(wanted) == 1 else None
    return _quick_arrays(inputs, wanted) if wanted.keys() <= inputs.keys() else None


def _quick_arrays(values: Mapping[str, Any], wanted: Inputs) -> dict[str, Array] | None:
    inputs = {name: _quick_array(values[name], info.dtype) for name, info in wanted.items()}
    return None if any(array is None for array in inputs.values()) else inputs  # type: ignore[return-value]


def _quick_array(value: Any, dtype: int) -> Array | None:
    numbers = value if isinstance(value, Flat) else from_lists(value)
    kind = kinds.KINDS.get(dtype)
    if numbers is None or kind is None:
        return None
    # `struct` tells integers from others itself, but not truths from numbers; a text of numbers has no truths.
    types = {int} if isinstance(value, Flat) else set(map(type, numbers.values))
    if not types <= kind.types:
        return None
    try:
        return kinds.array(numbers, kind)
    except (struct.error, OverflowError, errors.InvalidArgument):
        return None
