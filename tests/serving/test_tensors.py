"""Our messages and TensorFlow's are the same bytes, for every data type and shape, both ways."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ml_dtypes import bfloat16
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from serving.errors import InvalidArgument
from serving.wire import as_array, fill, to_array
from serving.wire import messages_pb2 as pb
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
        if not typed and array.size == 1 and array.dtype.kind in "fiub":
            assert response.outputs[name].tensor_content == array.tobytes()
            assert_same(np.asarray(tf.make_ndarray(response.outputs[name])), array)
        else:
            assert response.outputs[name] == proto
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("model", "signature", version)


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
