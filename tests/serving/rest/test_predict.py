"""What goes in by row and by column, and what is wrong with what does not."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from serving.server.rest import base64 as house_base64


def column(ask, dtype, value):
    """What the identity of a type makes of a value."""
    response = ask.predict({"signature_name": f"id_{dtype}", "inputs": value})
    assert response.status_code == 200, response.text
    return response.json()["outputs"]


def refused(ask, dtype, value):
    status, text = ask.error(json.dumps({"signature_name": f"id_{dtype}", "inputs": value}).encode())
    assert status == 400
    return text


@pytest.mark.parametrize(
    ("dtype", "sent", "expected"),
    [
        ("float32", [1, 2.5, -0.0], [1, 2.5, 0]),
        ("float32", [1e39, -1e39], [np.inf, -np.inf]),
        ("float32", 2**64, 1.84467441e19),
        ("float64", [0.1, 3], [0.1, 3]),
        ("int8", [127, 128, 300, -129], [127, -128, 44, 127]),
        ("int16", [2**15, 2**31 - 1], [-(2**15), -1]),
        ("int32", [2**31 - 1, -(2**31)], [2**31 - 1, -(2**31)]),
        ("int64", [2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        ("uint8", [300, -1], [44, 255]),
        ("uint32", [0, 2**32 - 1], [0, 2**32 - 1]),
        ("uint64", [0, 2**64 - 1], [0, 2**64 - 1]),
        ("bool", [[True], [False]], [[True], [False]]),
        ("string", ["a", "é\n", ""], ["a", "é\n", ""]),
        ("string", {"b64": "YQ=="}, "a"),
        ("string", [{"b64": "YWI"}, "c"], ["ab", "c"]),
        ("float32", [], []),
        ("float32", [[], []], [[], []]),
    ],
)
def test_values_of_each_type(ask, dtype, sent, expected):
    assert column(ask, dtype, sent) == expected


@pytest.mark.parametrize(
    ("dtype", "value", "kind", "name"),
    [
        ("int32", 1.5, "Number", "int32"),
        ("uint8", 1.0, "Number", "uint8"),
        ("int32", 2**31, "Number", "int32"),
        ("int64", 2**63, "Number", "int64"),
        ("uint32", -1, "Number", "uint32"),
        ("uint64", -1, "Number", "uint64"),
        ("uint64", 2**64, "Number", "uint64"),
        ("float32", True, "True", "float"),
        ("float64", "1", "String", "double"),
        ("int8", None, "Null", "int8"),
        ("bool", 1, "Number", "bool"),
        ("string", 1, "Number", "string"),
        ("string", False, "False", "string"),
        ("float32", {"b64": "AA=="}, "Object", "float"),
    ],
)
def test_values_of_a_wrong_type(ask, dtype, value, kind, name):
    for sent in (value, [value]):
        assert f" Type: {kind} is not of expected type: {name}" in refused(ask, dtype, sent)


def test_the_first_wrong_value_is_quoted(ask):
    assert refused(ask, "int32", [1, 2.5, "a"]) == "JSON Value: 2.5 Type: Number is not of expected type: int32"


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64"])
def test_types_that_json_does_not_carry(ask, dtype):
    name = {"half": "float16"}.get(dtype, dtype)
    told = f"Conversion of JSON Value: 1 to type: {dtype}"
    assert ask.error({"signature_name": f"id_{name}", "inputs": [1]}) == (501, told)
    wrapped = f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {told}"
    assert ask.error({"signature_name": f"id_{name}", "instances": [1]}) == (400, wrapped)


NUMBER_TEXTS = {
    "NaN": np.nan,
    "Infinity": np.inf,
    "-Infinity": -np.inf,
    "Inf": np.inf,
    "-Inf": -np.inf,
    "1E2": 100,
    "-0": 0,
    "1e-400": 0,
    "0.1e1": 1,
    "123456789012345678901234567890": 123456789012345678901234567890.0,
}


@pytest.mark.parametrize("text", NUMBER_TEXTS)
def test_numbers_as_rapidjson_reads_them(ask, text):
    body = f'{{"signature_name": "id_float64", "inputs": [{text}, 1]}}'.encode()
    np.testing.assert_equal(ask.predict(body).json()["outputs"], [NUMBER_TEXTS[text], 1])


MALFORMED = {
    b"": "JSON Parse error: The document is empty",
    b" ": "JSON Parse error: The document is empty. at offset: 1",
    b"{": "JSON Parse error: Missing a name for object member. at offset: 1",
    b'{"a" 1}': "JSON Parse error: Missing a colon after a name of object member. at offset: 5",
    b'{"a": 1 2}': "JSON Parse error: Missing a comma or '}' after an object member. at offset: 8",
    b'{"a": [1 2]}': "JSON Parse error: Missing a comma or ']' after an array element. at offset: 9",
    b'{"a": }': "JSON Parse error: Invalid value. at offset: 6",
    b'{"a": nul}': "JSON Parse error: Invalid value. at offset: 9",
    b'{"a": NaX}': "JSON Parse error: Invalid value. at offset: 8",
    b'{"a": [1,]}': "JSON Parse error: Invalid value. at offset: 9",
    b'{"a": +1}': "JSON Parse error: Invalid value. at offset: 6",
    b'{"a": 01}': "JSON Parse error: Missing a comma or '}' after an object member. at offset: 7",
    b'{"a": 1.}': "JSON Parse error: Miss fraction part in number. at offset: 8",
    b'{"a": 1e}': "JSON Parse error: Miss exponent in number. at offset: 8",
    b'{"a": 1e309}': "JSON Parse error: Number too big to be stored in double. at offset: 6",
    b'{"a": "b': "JSON Parse error: Missing a closing quotation mark in string. at offset: 8",
    b'{"a": "\n"}': "JSON Parse error: Invalid encoding in string. at offset: 7",
    b'{"a": "\\x"}': "JSON Parse error: Invalid escape character in string. at offset: 7",
    b'{"a": "\\u12G4"}': "JSON Parse error: Incorrect hex digit after \\u escape in string. at offset: 7",
    b'{"a": "\\ud800"}': "JSON Parse error: The surrogate pair in string is invalid. at offset: 7",
    b'{"a": 1}\x00'[:7]: "JSON Parse error: Missing a comma or '}' after an object member. at offset: 7",
    b"[]": "JSON Value: [] Is not object",
    b"null": "JSON Value: null Is not object",
    b"3 {": "JSON Value: 3 Is not object",
}


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_bodies_even_for_an_unknown_model(ask, body):
    assert ask.error(body, model="none") == (400, MALFORMED[body])


@pytest.mark.parametrize("junk", [b"x", b"}", b' {"a": 1}', b"\x00", b"\xff", b" \n"])
def test_what_follows_the_first_document_is_ignored(ask, junk):
    assert ask.predict(b'{"instances": [1]}' + junk).json() == {"predictions": [1]}


def test_unknown_names_are_ignored_and_of_a_name_twice_the_first_counts(ask):
    body = b'{"x": {"y": [null]}, "instances": [1], "instances": [2], "signature_name": "serving_default"}'
    assert ask.predict(b"\xef\xbb\xbf" + body).json() == {"predictions": [1]}
    assert ask.predict(b'{"note": "12:30", "instances": [3]}').json() == {"predictions": [3]}


DEEP = b"[" * 500_000


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"instances": ' + DEEP + b"]" * 500_000 + b"}", "tensor parsing error: x"),
        (b'{"inputs": ' + DEEP, "JSON Parse error: Invalid value. at offset: 500011"),
    ],
)
def test_half_a_million_levels(ask, body, text):
    assert ask.error(body) == (400, text)


def test_deep_nesting_that_nobody_looks_at_is_fine(ask):
    deep = b'{"a":' * 500_000 + b"1" + b"}" * 500_000
    assert ask.predict(b'{"x": ' + deep + b', "instances": [1]}').json() == {"predictions": [1]}


BAD = {
    "no key": ({}, "Missing 'inputs' or 'instances' key"),
    "both keys": ({"inputs": 1, "instances": [1]}, "expecting only one of 'inputs' or 'instances' keys to exist "),
    "instances type": ({"instances": 3}, "Expecting 'instances' to be an list/array"),
    "no instances": ({"instances": []}, "No values in 'instances' array"),
    "signature type": ({"signature_name": 3}, "not formatted correctly. 'signature_name' key must be a string value."),
    "signature": ({"signature_name": "x", "instances": 3}, 'Serving signature name: "x" not found in signature def'),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(ask, case):
    body, text = BAD[case]
    status, told = ask.error(body)
    assert (status, told.endswith(text)) == (400, True), told
    assert not ask.manager.lending


def test_the_model_is_looked_up_before_tensors_and_after_the_name_of_the_signature(ask):
    assert ask.error({"instances": 3}, model="none")[0] == 404
    assert ask.error({"signature_name": 3, "instances": 3}, model="none")[0] == 400


def element(number, text, key=""):
    return f"Failed to process element: {number}{key} of 'instances' list. Error: INVALID_ARGUMENT: {text}"


ROWS = {
    "size": ([[1], [2, 3]], element(1, "Expecting tensor size: 1 but got: 2")),
    "shape": ([[[1, 2]], [[1], [2]]], element(1, "Expecting shape [1,2] but got: [2,1]")),
    "rank": ([1, [1]], element(1, "Expecting shape [] but got: [1]")),
    "ragged": ([[[1], [2, 3]]], element(0, "Encountered list at unexpected size: 2 at level: 1 expected size: 1")),
    "scalar in lists": (
        [[[1], 2]],
        element(0, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ),
    "list among scalars": ([[1, [2]]], element(0, "Encountered list at unexpected level: 1 expected < 1")),
    "other name": ([{"z": 1}], element(0, "JSON object: does not have named input: z", " key: z")),
    "object after value": ([1, {"x": 1}], "Expecting value/list but got object at item 1 of input list"),
    "value after object": ([{"x": 1}, 1], "Expecting object but got list at item 1 of input list"),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_do_not_fit(ask, case):
    rows, text = ROWS[case]
    assert ask.error({"instances": rows}) == (400, text)


def test_rows_of_one_input(ask):
    for rows in ([[1, 2], [3, 4]], [{"x": [1, 2]}, {"x": [3, 4]}]):
        assert ask.predict({"instances": rows}).json() == {"predictions": [[1, 2], [3, 4]]}
    rows = [{"b64": "YQ=="}, {"b64": "Yg"}]
    assert ask.predict({"signature_name": "id_string", "instances": rows}).json() == {"predictions": ["a", "b"]}


def test_rows_of_several_inputs(ask):
    rows = [{"a": [1.5], "b": 1}, {"b": 2, "a": [2.5]}]
    assert ask.predict({"signature_name": "two", "instances": rows}).json() == {"predictions": rows}


def test_rows_of_several_inputs_that_do_not_fit(ask):
    def told(*rows):
        return ask.error({"signature_name": "two", "instances": rows})[1]

    assert told(1, 2).startswith("instances is a plain list, but expecting list of objects as multiple input tensors")
    assert told({"a": 1}).endswith("keys must be equal to: a,b")
    assert told({"a": 1, "b": 1.5}) == element(
        0, "JSON Value: 1.5 Type: Number is not of expected type: int32", " key: b"
    )
    assert told({"a": 1, "b": 1}, {"a": [1], "b": 1}) == element(1, "Expecting shape [] but got: [1]", " key: a")


def test_columns(ask):
    body = {"signature_name": "two", "inputs": {"a": [1.5], "b": [[1, 2], [3, 4]], "extra": None}}
    assert ask.predict(body).json() == {"outputs": {"a": [1.5], "b": [[1, 2], [3, 4]]}}
    assert ask.predict({"inputs": {"x": 1.5}}).json() == {"outputs": 1.5}


def test_columns_that_do_not_fit(ask):
    def told(inputs, name="two"):
        return ask.error({"signature_name": name, "inputs": inputs})[1]

    assert told({"a": 1}) == "Missing named input: b in 'inputs' object."
    assert told([1]).startswith("inputs is a plain value/list, but expecting an object as multiple input tensors")
    assert told([[1], [2, 3]], "id_float32") == "Encountered list at unexpected size: 2 at level: 1 expected size: 1"
    assert told({"z": 1}, "id_float32") == "Missing named input: x in 'inputs' object."


@pytest.mark.parametrize("text", ["-_-_", "YQ=", "Y", "YQ===", "====", "Y=Q=", "é"])
def test_wrong_base64(ask, text):
    assert refused(ask, "string", {"b64": text}) == "Unable to base64 decode"


@pytest.mark.parametrize("value", [{"b64": 1}, {"b64": "YQ==", "x": 1}, {}, {"c": "YQ=="}])
def test_objects_that_are_no_base64(ask, value):
    assert refused(ask, "string", [value]).endswith("not formatted correctly for base64 data")


def test_base64_with_line_breaks():
    data = bytes(range(256))
    assert house_base64.decode(base64.encodebytes(data).decode()) == data


def test_bytes_that_are_no_text_pass_through(ask):
    body = b'{"signature_name": "id_string", "inputs": ["\xff\xfe"]}'
    assert b'"\xff\xfe"' in ask.predict(body).content


def test_errors_quote_about_256_bytes(ask):
    text = refused(ask, "string", [{"x": list(range(1000))}])
    assert text.startswith('JSON Value: {\n    "x": [\n        0,\n        1,')
    assert 256 < len(text) < 350


def test_what_the_graph_refuses(ask):
    status, text = ask.error({"signature_name": "invalid", "inputs": [1]})
    assert (status, "{{node Reshape}}" in text) == (400, True)
    assert not ask.manager.lending


def test_a_number_list_of_any_size_means_the_same(ask):
    values = (np.arange(2 * 30 * 3).reshape(2, 30, 3) / 8).tolist()
    body = {"instances": values}
    assert ask.predict(json.dumps(body, indent=2).encode()).json() == {"predictions": values}
    assert ask.predict({"inputs": {"x": values}, "z": ["[" * 300]}).json() == {"outputs": values}
    two = {"a": [v / 4 for v in range(300)], "b": list(range(300))}
    assert ask.predict({"signature_name": "two", "inputs": two}).json() == {"outputs": two}
    assert refused(ask, "int32", two["a"]) == "JSON Value: 0.0 Type: Number is not of expected type: int32"


def test_a_name_that_is_no_utf_8_is_a_name_that_there_is_not(ask):
    response = ask.predict(b'{"instances": [{"\x80": 1}]}')
    assert response.status_code == 400
    assert b"JSON object: does not have named input: \x80" in response.content
