"""Answers, byte by byte as TensorFlow Serving writes them."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from serving import errors
from serving.server.rest import decimals, json_in, json_out

libc = ctypes.CDLL(None)
libc.strtof.restype, libc.strtof.argtypes = ctypes.c_float, [ctypes.c_char_p, ctypes.c_void_p]


def strings(*values):
    return np.array(values, dtype=object)


def by_c(value):
    """The text of a float as C's own functions make it, one at a time."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{float(value):.6g}"
    is_float = value.dtype == np.float32
    if (np.float32(libc.strtof(text.encode(), None)) if is_float else float(text)) != value:
        text = f"{float(value):.{9 if is_float else 17}g}"
    return text if "." in text or "e" in text else text + ".0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.2), "0.2"),
        (np.float32(1 / 3), "0.333333343"),
        (np.float32(9e6), "9e+06"),
        (np.float32(16777216), "16777216.0"),
        (np.float32(3), "3.0"),
        (np.float32(1e-7), "1e-07"),
        (np.float32(-0.0), "-0.0"),
        (np.float64(1 / 3), "0.33333333333333331"),
        (np.float64(1e300), "1e+300"),
        (np.float32("nan"), "NaN"),
        (np.float32("inf"), "Infinity"),
        (np.float64("-inf"), "-Infinity"),
    ],
)
def test_numbers(value, text):
    assert decimals.texts(np.array([value])) == [text]
    assert decimals.texts(np.repeat(value, 1000)) == [text] * 1000


@given(np_st.arrays(np.uint32, st.integers(0, 200)))
def test_any_float(bits):
    values = bits.view(np.float32)
    assert decimals.texts(values) == [by_c(value) for value in values]


@given(np_st.arrays(np.uint64, st.integers(0, 20)))
def test_any_double(bits):
    values = bits.view(np.float64)
    assert decimals.texts(values) == [by_c(value) for value in values]


@pytest.mark.parametrize("low", [-8, 0, 5])
def test_many_floats_of_common_sizes(low):
    random = np.random.default_rng(low + 8)
    values = (10.0 ** random.uniform(low, low + 5, 20_000)).astype(np.float32)
    values[::7] = np.rint(values[::7])
    values[::11] = (values[::11].astype(np.float64) * 2**-13).astype(np.float32)
    assert decimals.texts(values) == [by_c(value) for value in values]


def test_rows_of_one_output():
    assert json_out.predictions({"y": np.array([2.5, 3], np.float32)}) == b'{\n    "predictions": [2.5, 3.0\n    ]\n}'
    text = b'{\n    "predictions": [[[1], [2]], [[3], [4]]\n    ]\n}'
    assert json_out.predictions({"y": np.array([[[1], [2]], [[3], [4]]])}) == text


def test_rows_of_several_outputs():
    outputs = {"a": np.array([[1.5, 2], [3, 4]], np.float32), 'b"%s': np.array([True, False])}
    assert json_out.predictions(outputs).decode() == (
        '{\n    "predictions": [\n'
        '        {\n            "a": [1.5, 2.0],\n            "b\\"%s": true\n        },\n'
        '        {\n            "a": [3.0, 4.0],\n            "b\\"%s": false\n        }\n'
        "    ]\n}"
    )


@pytest.mark.parametrize("outputs", [{"y": np.zeros((0, 3))}, {"y": np.zeros(0), "z": np.zeros((0, 1), np.int8)}])
def test_no_rows(outputs):
    assert json_out.predictions(outputs) == b'{\n    "predictions": []\n}'


def test_columns_have_a_value_a_line():
    assert json_out.columns({"y": np.array(2.5)}) == b'{\n    "outputs": 2.5\n}'
    assert json_out.columns({"y": np.array([[1], [2]])}).decode() == (
        '{\n    "outputs": [\n        [\n            1\n        ],\n        [\n            2\n        ]\n    ]\n}'
    )
    assert json_out.columns({"y": np.array([1]), "z": np.zeros((1, 0))}).decode() == (
        '{\n    "outputs": {\n        "y": [\n            1\n        ],\n        "z": [\n            []\n        ]\n    }\n}'
    )


def test_bytes_by_the_name_of_their_output():
    text = json_out.predictions({"x_bytes": strings(b"\xff")}).decode()
    assert text == '{\n    "predictions": [{\n            "b64": "/w=="\n        }\n    ]\n}'
    assert b'"x": "\xff"' in json_out.columns({"x": np.array(b"\xff", object), "y": np.array(1)})


def test_strings_are_escaped_as_rapidjson_does():
    text = json_out.columns({"x": np.array('"\\/\b\f\n\r\t\x01\x1f\x7fé\u2028'.encode(), object)}).decode()
    assert text == '{\n    "outputs": "\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001F\x7fé\u2028"\n}'
    assert json_out.error('a "b"\n') == b'{\n    "error": "a \\"b\\"\\n"\n}'


INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_numbers(dtype):
    limits = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    assert json_in.parse(json_out.predictions({"y": limits})) == {"predictions": limits.tolist()}


@pytest.mark.parametrize(("dtype", "name"), [(np.float16, "half"), (np.uint16, "uint16"), (np.complex64, "complex64")])
def test_types_that_json_does_not_carry(dtype, name):
    with pytest.raises(errors.InvalidArgument, match=f"Failed to write JSON value for tensor type: {name}"):
        json_out.predictions({"y": np.zeros(1, dtype)})


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"x": np.array(1.0)}, "Tensor name: x has no shape information"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "Tensor name: y has inconsistent batch size: 3 expecting: 2"),
        ({}, "Cannot convert empty tensor map to JSON"),
    ],
)
def test_answers_that_rows_cannot_hold(outputs, text):
    with pytest.raises(errors.InvalidArgument, match=text):
        json_out.predictions(outputs)


def test_what_outputs_a_model_has_is_told(ask):
    def told(name, key):
        return ask.error({"signature_name": name, key: [1]})

    assert told("total", "instances") == (400, "Tensor name: y has no shape information ")
    assert "has inconsistent batch size: " in told("uneven", "instances")[1]
    assert told("to_half", "inputs") == (400, "Failed to write JSON value for tensor type: half")
    body = {"signature_name": "both", "instances": ["a", "b"]}
    rows = [{"text": "a", "x_bytes": {"b64": "YQ=="}}, {"text": "b", "x_bytes": {"b64": "Yg=="}}]
    assert ask.predict(body).json() == {"predictions": rows}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_any_value_is_quoted_as_json_that_reads_back(value):
    text = "".join(json_out.pretty(value))
    np.testing.assert_equal(json_in.parse(text.encode()), value)
