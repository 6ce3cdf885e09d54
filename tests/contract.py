"""Models, requests and a checker for the tests of what clients of TensorFlow Serving rely on."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
import saved_models
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

DTYPES = [
    *("float32", "float64", "float16", "bfloat16", "complex64", "bool", "string"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]
# The 2^18 steps of `slow` take some seconds, longer than any test waits.
FOR_EVER = 2**18


def zoo(folder: Path) -> Path:
    """Signatures for what a request can be: each data type, several inputs, defaults, slow, failing, odd outputs."""

    def spec(dtype, name, shape=None):
        return tf.TensorSpec(shape, getattr(tf, dtype), name)

    def slow(n):
        matrix = tf.ones((64, 64)) / 64
        _, value = tf.while_loop(lambda i, _: i < tf.reduce_max(n), lambda i, m: (i + 1, m @ matrix), (0, matrix))
        return {"y": tf.cast(n, tf.float32) * value[0, 0]}

    x = spec("float32", "x")
    saved_models.save(
        folder,
        serving_default=(lambda x: {"y": x * 2.0}, spec("float32", "x", (None, 2))),
        **{f"id_{t}": (lambda x: {"y": tf.identity(x)}, spec(t, "x")) for t in DTYPES},
        two=(lambda a, b: {"sum": a + tf.cast(b, a.dtype), "b": b + 0}, spec("float32", "a"), spec("int32", "b")),
        defaulted=(lambda a, b: {"sum": a + b}, spec("float32", "a"), spec("float32", "b")),
        both=(lambda x: {"text": tf.identity(x), "x_bytes": tf.identity(x)}, spec("string", "x")),
        as_bytes=(lambda x: {"x_bytes": tf.identity(x)}, spec("string", "x")),
        total=(lambda x: {"y": tf.reduce_sum(x)}, x),
        uneven=(lambda x: {"y": x + 0, "z": tf.concat([x, x], 0)}, x),
        fails=(lambda x: {"y": tf.reshape(x, [17])}, x),
        long_text=(lambda x: {"y": tf.debugging.check_numerics(x, "w" * 3000)}, x),
        batch_size=(lambda x: {"y": tf.fill(tf.shape(x)[:1], tf.shape(x)[0])}, x),
        batch_sum=(lambda x: {"y": tf.fill(tf.shape(x)[:1], tf.reduce_sum(x))}, x),
        slow=(slow, spec("int32", "n", (None,))),
    )
    _give_default(folder / "saved_model.pb", "defaulted", "b", 10.0)
    return folder


def _give_default(file: Path, signature: str, name: str, value: float) -> None:
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    default = tf.make_tensor_proto(np.float32(value))
    message.meta_graphs[0].signature_def[signature].defaults[name].CopyFrom(default)
    file.write_bytes(message.SerializeToString())


def predict_request(inputs=(), *, name="zoo", signature="", version=None, label=None, outputs=()):
    """A PredictRequest; inputs by name, arrays or TensorProtos."""
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    for key, value in dict(inputs).items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        message.inputs[key].CopyFrom(proto)
    return message


def write_warm_up(version: Path, *records: bytes) -> Path:
    """Serialized PredictionLogs for a version folder to be warmed up with."""
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)
    return version


def refusal(method, message, timeout: float = 10) -> tuple[grpc.StatusCode, str]:
    """Status and text with which a call fails."""
    with pytest.raises(grpc.RpcError) as error:
        method(message, timeout=timeout)
    return error.value.code(), error.value.details()


def model_config(*models: str) -> str:
    """The text of a ModelServerConfig."""
    listed = " ".join(f'config: {{ model_platform: "tensorflow", {model} }}' for model in models)
    return f"model_config_list {{ {listed} }}"
