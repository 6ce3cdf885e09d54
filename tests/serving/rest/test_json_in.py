"""The parser is RapidJSON's, whatever comes; big lists of numbers mean what they mean written out."""

from __future__ import annotations

import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving import errors
from serving.server.rest import bodies, exact, flat, json_in, json_out, reader, tensors_in

TYPES = {
    np.float32: types_pb2.DT_FLOAT,
    np.float64: types_pb2.DT_DOUBLE,
    np.int8: types_pb2.DT_INT8,
    np.int16: types_pb2.DT_INT16,
    np.int32: types_pb2.DT_INT32,
    np.int64: types_pb2.DT_INT64,
    np.uint8: types_pb2.DT_UINT8,
    np.uint32: types_pb2.DT_UINT32,
    np.uint64: types_pb2.DT_UINT64,
    np.bool_: types_pb2.DT_BOOL,
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)
NUMBER = st.integers(-(2**70), 2**70) | st.floats()
NEST = st.recursive(st.lists(NUMBER, max_size=4), lambda inner: st.lists(inner, max_size=4), max_leaves=8)


def wanted(dtype):
    return {"x": meta_graph_pb2.TensorInfo(dtype=TYPES[dtype])}


def arrays(body, dtype):
    return tensors_in.arrays(json_in.Document(body), wanted(dtype))[0]["x"]


@given(VALUES)
def test_both_parsers_read_what_python_reads(value):
    text = json.dumps(value).encode()
    assert reader.read(text) == value
    assert json_in.parse(text) == value


@given(VALUES, st.integers(0, 200), st.binary(min_size=1, max_size=3))
@settings(max_examples=200)
def test_broken_texts_are_refused_with_an_offset_within_them(value, at, damage):
    text = json.dumps([value]).encode()
    broken = text[: at % len(text)] + damage + text[at % len(text) :]
    try:
        json_in.parse(broken)
    except errors.InvalidArgument as error:
        offset = int(error.message.rpartition("offset: ")[2])
        assert 0 <= offset <= len(broken)


@given(st.binary())
@settings(max_examples=200)
def test_no_bytes_crash_it(body):
    for text in (body, b'{"instances": [' + body, b'{"inputs": [' + body + b"]}"):
        with contextlib.suppress(errors.InvalidArgument):
            arrays(text, np.float32)


@pytest.mark.parametrize("dtype", TYPES)
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_array_comes_back(dtype, data):
    array = data.draw(np_st.arrays(dtype, np_st.array_shapes(max_dims=4, max_side=4)))
    text = json_out.columns({"x": array})
    again = arrays(text.replace(b'"outputs"', b'"inputs"'), dtype)
    np.testing.assert_array_equal(again, array, strict=True)
    by_row = arrays(json_out.predictions({"x": array}).replace(b'"predictions"', b'"instances"'), dtype)
    np.testing.assert_array_equal(by_row, array, strict=True)


@given(np_st.arrays(np.float32, np_st.array_shapes(min_dims=2, max_dims=3, min_side=3, max_side=9)))
def test_lists_on_many_lines_are_taken_in_apart(array):
    text = json_out.columns({"x": np.nan_to_num(array)}).replace(b'"outputs"', b'"inputs"').ljust(600)
    apart = json_in.Document(text).fields["inputs"]
    assert isinstance(apart, flat.Flat) or text.count(b"[") * 2 + array.size < 100
    np.testing.assert_array_equal(arrays(text, np.float32), np.nan_to_num(array))


def written(nest, random):
    """A nest of lists as JSON with blanks here and there."""
    text = json.dumps(nest)
    return "".join(c + random.choice(["", "", " ", "\n\t"]) if c in "[]," else c for c in text).encode()


@given(NEST, st.randoms())
@settings(max_examples=200)
def test_flat_numbers_are_those_of_the_lists(nest, random):
    text = written(nest, random)
    numbers = flat.from_text(text)
    if numbers is not None:
        read = json.loads(text, parse_int=lambda digits: int(digits) if abs(int(digits)) < 2**63 else float(digits))
        assert numbers == flat.from_lists(read)
        assert numbers.shape == np.array(nest, object).shape


@given(NEST, st.integers(0, 300), st.sampled_from("[],-.e10 "), st.booleans())
@settings(max_examples=200)
def test_broken_lists_of_numbers_are_never_taken(nest, at, damage, is_instead):
    text = json.dumps(nest)
    at %= len(text)
    broken = text[:at] + damage + text[at + is_instead :]
    numbers = flat.from_text(broken.encode())
    if numbers is not None:
        assert numbers.values == pytest.approx(flat.from_lists(json.loads(broken)).values)


@pytest.mark.parametrize(
    "text",
    ["1", "[]", "[[]]", "[1[,2]]", "[1][2]", "[[1],2]", "[[1,2],[3]]", "[1,]", "[,1]", "[1 2]", "[[1]2]", "[2[1]]", "]1["]
)  # fmt: skip
def test_what_is_no_regular_list_of_numbers_is_left_to_the_parser(text):
    assert flat.from_text(text.encode()) is None


@given(st.lists(st.lists(st.integers() | st.floats() | st.booleans() | st.none() | st.text(), max_size=3), max_size=3))
def test_the_quick_way_gives_what_the_exact_way_gives(lists):
    for dtype in (np.float32, np.int32, np.bool_):
        quick = tensors_in._quick_columns(lists, wanted(dtype))
        if quick is not None:
            slow = exact.columns(lists, wanted(dtype))
            np.testing.assert_array_equal(quick["x"], slow["x"], strict=True)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["%.17g", "%.3e", "%.25f", "%g"]))
def test_numbers_are_those_of_strtod_cast_to_float(value, form):
    text = form % value
    if math.isfinite(float(text)):
        body = f'{{"inputs": [{", ".join([text] * 200)}]}}'.ljust(600).encode()
        with np.errstate(over="ignore"):
            expected = np.full(200, float(text)).astype(np.float32)
        np.testing.assert_array_equal(arrays(body, np.float32), expected)


def test_gzip_in_several_members_and_bombs():
    text = b"x" * 100_000
    assert bodies.unpacked(bodies.packed(text) + bodies.packed(text)) == text * 2
    with pytest.raises(bodies.TooLarge):
        bodies.unpacked(bodies.packed(text) * 2, limit=199_999)
    for broken in (bodies.packed(text)[:-9], b"no gzip"):
        with pytest.raises(errors.InvalidArgument):
            bodies.unpacked(broken)


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip; q=0", False), ("identity", False), ("", False)],
)
def test_accept_encoding(accepted, expected):
    assert bodies.accepts_gzip(accepted) is expected
