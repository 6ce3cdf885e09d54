"""Our messages and TensorFlow's are the same bytes, for every data type and shape, both ways."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ml_dtypes import bfloat16
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from serving.errors import InvalidArgument
from serving.wire import as_array, fill, predict_request, read_predict_response, to_array
from serving.wire import messages_pb2 as pb
from serving.wire.framing import head
from serving.wire.responses import predict_response
from serving.wire.tensors import KINDS

WRITTEN_ONE_BY_ONE = [np.float16, bfloat16, np.bool_, np.uint16, np.complex64, np.complex128]
NUMBERS = [kind.numpy for kind in KINDS if not kind.is_string]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


def arrays():
    numbers = st.sampled_from(NUMBERS).flatmap(numbers_of)
    strings = SHAPES.flatmap(
        lambda shape: st.lists(st.binary(max_size=9), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
            lambda items: as_objects(items).reshape(shape)
        )
    )
    return st.one_of(numbers, strings)


def numbers_of(dtype):
    if dtype == bfloat16:  # hypothesis does not know it
        return hnp.arrays(np.uint16, SHAPES).map(lambda bits: bits.view(bfloat16))
    return hnp.arrays(dtype, SHAPES)


def as_objects(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def filled(array, *, typed=False, kind=pb.TensorProto):
    proto = kind()
    fill(proto, array, typed=typed)
    return proto


def assert_same(actual, expected):
    assert actual.shape == expected.shape
    if expected.dtype == object:
        assert actual.ravel().tolist() == expected.ravel().tolist()
    else:
        assert actual.dtype == expected.dtype
        assert actual.tobytes() == expected.tobytes()


@hypothesis.given(arrays())
def test_written_bytes_equal_tensorflows(array):
    # Of these TensorFlow's Python writes value by value, which its C++ code reads as gladly as our raw bytes.
    hypothesis.assume(array.size < 2 or array.dtype not in WRITTEN_ONE_BY_ONE)
    assert filled(array).SerializeToString() == tf.make_tensor_proto(array, shape=array.shape).SerializeToString()


@hypothesis.given(arrays(), st.booleans())
def test_an_array_survives_the_wire(array, typed):
    assert_same(to_array(pb.TensorProto.FromString(filled(array, typed=typed).SerializeToString())), array)


@hypothesis.given(arrays(), st.booleans())
def test_tensorflow_reads_what_we_write(array, typed):
    proto = tensor_pb2.TensorProto.FromString(filled(array, typed=typed).SerializeToString())
    assert_same(np.asarray(tf.make_ndarray(proto)), array)


@hypothesis.given(arrays(), st.booleans())
def test_both_message_classes_are_filled_alike(array, typed):
    ours = filled(array, typed=typed).SerializeToString(deterministic=True)
    assert filled(array, typed=typed, kind=tensor_pb2.TensorProto).SerializeToString(deterministic=True) == ours


@pytest.mark.parametrize(
    ("ours", "official", "fields"),
    [
        (pb.PredictRequest, predict_pb2.PredictRequest, {"output_filter": ["a", "b"]}),
        (pb.PredictResponse, predict_pb2.PredictResponse, {}),
        (
            pb.GetModelMetadataRequest,
            get_model_metadata_pb2.GetModelMetadataRequest,
            {"metadata_field": ["signature_def"]},
        ),
        (pb.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest, {}),
    ],
)
@pytest.mark.parametrize("choice", ["version", "version_label", None])
def test_requests_and_responses_are_the_same_bytes(ours, official, fields, choice):
    serialized = []
    for kind in (ours, official):
        message = kind(**fields)
        message.model_spec.name = "m"
        message.model_spec.signature_name = "s"
        if choice == "version":
            message.model_spec.version.value = 2**40
        elif choice:
            message.model_spec.version_label = "stable"
        for tensors in (getattr(message, name, None) for name in ("inputs", "outputs")):
            if tensors is not None:
                fill(tensors["x"], np.arange(6, dtype=np.float32).reshape(2, 3))
        serialized.append(message.SerializeToString(deterministic=True))
        assert kind.FromString(serialized[0]) == message
    assert serialized[0] == serialized[1]


@hypothesis.given(
    st.dictionaries(st.text(max_size=200), arrays(), max_size=3), st.integers(-(2**63), 2**63 - 1), st.booleans()
)
def test_a_response_written_as_bytes_is_the_message(outputs, version, typed):
    written = predict_response(outputs, "model", version, "signature", typed=typed)
    response = predict_pb2.PredictResponse.FromString(written)
    assert response.outputs.keys() == outputs.keys()
    for name, array in outputs.items():
        proto = tensor_pb2.TensorProto()
        fill(proto, array, typed=typed)
        if not typed and array.size == 1 and array.dtype != object:
            assert response.outputs[name].tensor_content == array.tobytes()
            assert_same(np.asarray(tf.make_ndarray(response.outputs[name])), array)
        else:
            assert response.outputs[name] == proto
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("model", "signature", version)


@hypothesis.given(
    st.dictionaries(st.text(max_size=200), arrays(), max_size=3), st.sampled_from(["version", "version_label", None])
)
def test_a_request_written_as_bytes_is_the_message(inputs, choice):
    expected = pb.PredictRequest(output_filter=["a", "é" * 100])
    expected.model_spec.name, expected.model_spec.signature_name = "model", "signature"
    if choice == "version":
        expected.model_spec.version.value = -(2**63)
    elif choice:
        expected.model_spec.version_label = "stable"
    for name, array in inputs.items():
        fill(expected.inputs[name], array)
    written = predict_request(expected.model_spec, inputs, expected.output_filter)
    assert pb.PredictRequest.FromString(written) == expected


def test_a_request_takes_arrays_however_they_lie_in_memory():
    rows = np.arange(24, dtype=np.float32).reshape(4, 6)
    for array in (rows.T, rows[:, ::2], rows[::-1], rows.astype(">f4"), np.broadcast_to(rows[0], (3, 6))):
        written = pb.PredictRequest.FromString(predict_request(pb.ModelSpec(), {"x": array}))
        assert_same(to_array(written.inputs["x"]), np.ascontiguousarray(array, "<f4"))


# What an answer is read from the faster way.
LONG = 4096
FLOATS = np.arange(LONG, dtype=np.float32)


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("dtype", [dtype.name for dtype in NUMBERS] + ["object"])
def test_a_long_answer_is_read_as_the_message_is(dtype, typed):
    values = np.arange(2 * LONG).reshape(2, LONG) % 100
    long = values.astype(str).astype(object) if dtype == "object" else values.astype(dtype)
    message = pb.PredictResponse(model_spec={"name": "m", "signature_name": "s"})
    message.model_spec.version.value = 2**40
    outputs = {"long": long, "short": long[:, :2], "é": long[:1], "none": long[:0]}
    for name, array in outputs.items():
        fill(message.outputs[name], array, typed=typed)
    arrays, version = read_predict_response(message.SerializeToString())
    assert version == 2**40
    assert arrays.keys() == outputs.keys()
    for name, tensor in message.outputs.items():
        assert_same(arrays[name], to_array(tensor))


def test_answers_of_one_length_are_told_apart():
    """Where the values are is remembered by the length."""
    for name, value, version in (("a", 1, 1), ("b", 2, 1), ("b", 3, 2), ("a", 4, 1), ("a", 5, 1)):
        data = predict_response({name: FLOATS + value, "s": as_objects([b"x%d" % value])}, "m", version, "s")
        arrays, answered_by = read_predict_response(data)
        assert answered_by == version
        assert_same(arrays[name], FLOATS + value)
        assert arrays["s"].tolist() == [b"x%d" % value]
    halves = FLOATS.reshape(2, -1)
    assert read_predict_response(predict_response({"a": halves}, "m", 1, "s"))[0]["a"].shape == halves.shape
    assert read_predict_response(predict_response({"a": halves.T}, "m", 1, "s"))[0]["a"].shape == halves.T.shape


def test_a_long_answer_is_not_copied():
    for typed in (True, False):
        data = predict_response({"y": np.arange(LONG, dtype=np.float32)}, "m", 1, "s", typed=typed)
        array = read_predict_response(data)[0]["y"]
        assert np.shares_memory(array, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.float_val.append(1),  # a surplus value
        lambda tensor: (
            tensor.ClearField("float_val") or tensor.float_val.extend([1] * (LONG - 1))
        ),  # the last is repeated
        lambda tensor: tensor.tensor_shape.ClearField("dim"),  # a scalar
        lambda tensor: tensor.MergeFromString(b"\x18\x01"),  # version_number, which nobody reads
        lambda tensor: setattr(tensor, "tensor_content", FLOATS[::-1].tobytes()),  # which counts
        lambda tensor: setattr(tensor.tensor_shape, "unknown_rank", True),
    ],
)
def test_a_long_answer_of_unusual_form_is_read_as_the_message_is(change):
    message = pb.PredictResponse()
    fill(message.outputs["y"], FLOATS, typed=True)
    change(message.outputs["y"])
    assert_same(read_predict_response(message.SerializeToString())[0]["y"], to_array(message.outputs["y"]))


def test_an_answer_in_pieces_is_merged():
    message = pb.PredictResponse()
    fill(message.outputs["y"], FLOATS, typed=True)
    tensor = message.outputs["y"].SerializeToString()
    body = tensor + pb.TensorProto(float_val=[1, 2]).SerializeToString()
    entry = b"\x0a\x01y" + head(0x12, len(body)) + body
    data = head(0x0A, len(entry)) + entry
    assert_same(read_predict_response(data)[0]["y"], to_array(pb.PredictResponse.FromString(data).outputs["y"]))


@hypothesis.example(b"\x02", 0)  # a field of number 0
@hypothesis.given(st.binary(max_size=40), st.integers(0, 200))
def test_bytes_that_are_no_answer_are_refused_as_the_message_is(junk, at):
    good = predict_response({"y": FLOATS}, "m", 1, "s")
    data = good[:at] + junk + good[at:]
    try:
        expected = {name: to_array(each) for name, each in pb.PredictResponse.FromString(data).outputs.items()}
    except (DecodeError, InvalidArgument) as error:
        with pytest.raises(type(error)):
            read_predict_response(data)
    else:
        arrays = read_predict_response(data)[0]
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            assert_same(arrays[name], array)


def test_statuses_and_signatures_are_the_same_bytes():
    official = get_model_status_pb2.GetModelStatusResponse()
    entry = official.model_version_status.add(version=3, state=50)
    entry.status.error_code, entry.status.error_message = 5, "gone"
    assert (
        pb.GetModelStatusResponse.FromString(official.SerializeToString()).SerializeToString()
        == official.SerializeToString()
    )
    signatures = get_model_metadata_pb2.SignatureDefMap()
    info = signatures.signature_def["s"].inputs["x"]
    info.name, info.dtype = "x:0", 1
    info.tensor_shape.dim.add(size=-1)
    ours = pb.SignatureDefMap.FromString(signatures.SerializeToString())
    assert ours.SerializeToString(deterministic=True) == signatures.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("fields", "shape", "expected"),
    [
        ({"dtype": pb.DT_FLOAT, "float_val": [1, 2]}, [4], [1, 2, 2, 2]),  # the last value is repeated
        ({"dtype": pb.DT_FLOAT}, [2], [0, 0]),
        ({"dtype": pb.DT_STRING}, [2], [b"", b""]),
        ({"dtype": pb.DT_FLOAT, "float_val": [1, 2, 3]}, [2], [1, 2]),  # the surplus is dropped
        ({"dtype": pb.DT_UINT8, "int_val": [300, -1]}, [2], [44, 255]),  # small integers wrap
        ({"dtype": pb.DT_INT8, "int_val": [200]}, [1], [-56]),
    ],
)
def test_reads_incomplete_tensors_as_tensorflow_does(fields, shape, expected):
    proto = pb.TensorProto(**fields)
    proto.tensor_shape.dim.extend(pb.TensorShapeProto.Dim(size=size) for size in shape)
    assert to_array(proto).tolist() == expected


def test_one_value_for_all_takes_no_memory():
    proto = pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[3])
    proto.tensor_shape.dim.extend(pb.TensorShapeProto.Dim(size=size) for size in (2**13, 2**13))
    assert (to_array(proto).strides, to_array(proto)[-1, -1]) == ((0, 0), 3)


def test_unknown_rank_is_a_scalar():
    proto = pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[5])
    proto.tensor_shape.unknown_rank = True
    assert to_array(proto).shape == ()


@pytest.mark.parametrize(
    ("fields", "shape", "text"),
    [
        ({"dtype": 0}, [1], "data type number 0"),
        ({"dtype": pb.DT_FLOAT, "tensor_content": b"123"}, [1], "3 bytes"),
        ({"dtype": pb.DT_STRING, "tensor_content": b"123"}, [1], "3 bytes"),
        ({"dtype": pb.DT_FLOAT}, [-1], "negative"),
        ({"dtype": pb.DT_FLOAT, "float_val": [1]}, [2**20, 2**20], "exceed"),  # a few bytes that want terabytes
        ({"dtype": pb.DT_FLOAT}, [0, 2**62], "exceed"),
        ({"dtype": pb.DT_FLOAT, "float_val": [1]}, [2**28], "brings 1 of them"),
        ({"dtype": pb.DT_FLOAT, "float_val": [1, 2]}, [2**28], "brings 2 of them"),
        # A request of 60 bytes made Python look at 16 million strings for half a minute.
        ({"dtype": pb.DT_STRING}, [2**16, 3, 3, 28, 1], "brings 0 of them"),
        ({"dtype": pb.DT_FLOAT}, [1] * 65, "64 dimensions"),
    ],
)
def test_refuses_broken_tensors(fields, shape, text):
    proto = pb.TensorProto(**fields)
    proto.tensor_shape.dim.extend(pb.TensorShapeProto.Dim(size=size) for size in shape)
    with pytest.raises(InvalidArgument, match=text):
        to_array(proto)


def test_bytes_keep_their_trailing_zeros():
    assert to_array(filled(as_array([b"a\0", b"\0"]))).tolist() == [b"a\0", b"\0"]


@pytest.mark.parametrize("value", [np.array([object()]), np.zeros(1, "datetime64[s]")])
def test_unsendable_arrays_are_named(value):
    with pytest.raises(InvalidArgument, match="Expected"):
        filled(value)
