"""Bodies of classify and regress: examples come as objects of features, results go out as lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2

from serving import errors
from serving.server.rest import base64, decimals, json_out
from serving.server.rest.json_in import Document, is_base64, type_name, wrong
from serving.server.rest.reader import Json

# The kind of a feature is that of its first value. Field of `Feature` by type of the value, and how errors call it.
_FIELDS: dict[type, str] = {
    bool: "int64_list",
    int: "int64_list",
    float: "float_list",
    str: "bytes_list",
    dict: "bytes_list",
}
_KIND_NAMES = {"int64_list": "int64", "float_list": "float", "bytes_list": "bytes"}


def serialized(document: Document) -> list[bytes]:
    """The examples of a body as tf.Example, with the context's bytes in front of each. Raises InvalidArgument."""
    fields = document.plain()
    context = _example(fields["context"]) if "context" in fields else b""
    if "examples" not in fields:
        raise wrong(fields, "When method is classify, key 'examples' is expected and was not found")
    if not isinstance(fields["examples"], list):
        raise wrong(fields, "Expecting 'examples' value to be an list/array")
    if not fields["examples"]:
        raise wrong(fields, "'examples' value is an empty array")
    return [context + _example(value) for value in fields["examples"]]


def _example(value: Json) -> bytes:
    if not isinstance(value, dict):
        raise errors.InvalidArgument(f"Example must be JSON object but got JSON {type_name(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = _feature(name, content if isinstance(content, list) else [content])
        if _is_text(name):  # else no model knows it, and features that it does not know are passed over
            example.features.feature[name].CopyFrom(feature)
    serialized: bytes = example.SerializeToString()
    return serialized


def _is_text(name: str) -> bool:
    """Whether it is UTF-8, as it came."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _feature(name: str, values: Sequence[Json]) -> feature_pb2.Feature:
    feature = feature_pb2.Feature()
    for value in values if len(set(map(type, values))) > 1 else values[:1]:
        _require_value(name, value, _FIELDS.get(type(values[0]), ""))
    if not values:
        return feature
    field = _FIELDS[type(values[0])]
    items = getattr(feature, field).value
    if field == "int64_list":
        if max(values) >= 2**63:
            raise errors.InvalidArgument(f"Feature: {name} has uint64 element. Only int64_t is supported.")
        items.extend(map(int, values))
    elif field == "float_list":
        with np.errstate(over="ignore"):  # a double beyond float's range becomes infinity
            items.extend(np.array(values, np.float64).astype(np.float32).tolist())
    else:
        items.extend(_bytes(name, value) for value in values)
    return feature


def _require_value(name: str, value: Json, field: str) -> None:
    kind = _FIELDS.get(type(value))
    if kind is None or (isinstance(value, dict) and not is_base64(value)):
        raise _unexpected(name, value)
    if kind != field:
        raise errors.InvalidArgument(f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[field]}")


def _unexpected(name: str, value: Json) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _bytes(name: str, value: Json) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    if not is_base64(value):
        raise _unexpected(name, value)
    return base64.decode(value["b64"])


def classifications(result: Any) -> bytes:
    """The answer of a `ClassificationResult`: [label, score] of each class of each example. Raises InvalidArgument."""
    if not result.classifications:
        raise errors.InvalidArgument("Cannot convert empty ClassificationResults to JSON")
    examples = [
        json_out.one_line([_class(entry.label, score) for entry, score in zip(one.classes, _scores(one), strict=True)])
        for one in result.classifications
    ]
    return json_out.answer("results", json_out.closed_below(json_out.one_line(examples)))


def _scores(one: Any) -> Sequence[str]:
    return decimals.texts(np.array([entry.score for entry in one.classes], np.float32))


def _class(label: str, score: str) -> str:
    return json_out.one_line([json_out.string(label), score])


def regressions(result: Any) -> bytes:
    """The answer of a `RegressionResult`: a value for each example. Raises InvalidArgument."""
    if not result.regressions:
        raise errors.InvalidArgument("Cannot convert empty RegressionResults to JSON")
    values = np.array([entry.value for entry in result.regressions], np.float32)
    return json_out.answer("results", json_out.one_line(decimals.texts(values)))
