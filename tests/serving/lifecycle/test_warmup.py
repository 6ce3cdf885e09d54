"""Requests that run on a version before it serves."""

from __future__ import annotations

import pytest
import tensorflow as tf
from support import load_servable
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import DataLoss, InvalidArgument, ServingError, Unimplemented
from serving.server import warmup


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """y = 2 x, for x of shape (batch, 3); it counts its runs."""
    folder = tmp_path_factory.mktemp("saved") / "1"
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": x * [2.0, 2.0, 2.0]}, [tf.TensorSpec((None, 3), tf.float32, name="x")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


class Recorder:
    """A servable that tells what ran on it."""

    def __init__(self, path):
        self._servable = load_servable(path)
        self.ran = []

    def signature(self, name):
        return self._servable.signature(name)

    def run(self, inputs, signature_name="", output_filter=()):
        self.ran.append({name: array.tolist() for name, array in inputs.items()})
        return self._servable.run(inputs, signature_name, output_filter)


@pytest.fixture
def servable(saved):
    return Recorder(saved)


def predict(values, model="any"):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = model
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(values, tf.float32))
    return log


def write(folder, *records):
    (folder / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / warmup.FILE)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())
    return folder


def test_requests_run_in_order_whatever_model_they_name(servable, tmp_path):
    write(tmp_path, predict([[1, 1, 1]], "a"), predict([[2, 2, 2]], "b"))
    assert warmup.warm_up(servable, tmp_path) == 2
    assert [run["x"][0][0] for run in servable.ran] == [1, 2]


@pytest.mark.parametrize(("iterations", "times"), [(0, 1), (1, 1), (3, 3)])
def test_each_request_runs_so_many_times(servable, tmp_path, iterations, times):
    warmup.warm_up(servable, write(tmp_path, predict([[1, 1, 1]])), iterations=iterations)
    assert len(servable.ran) == times


def test_a_file_without_records_and_records_without_a_kind_are_fine(servable, tmp_path):
    warmup.warm_up(servable, write(tmp_path))
    warmup.warm_up(servable, write(tmp_path, prediction_log_pb2.PredictionLog()))
    assert servable.ran == []


def kind(field):
    log = prediction_log_pb2.PredictionLog()
    getattr(log, field).SetInParent()
    return log


@pytest.mark.parametrize(
    ("records", "code", "text"),
    [
        ([predict([[1, 1]])], InvalidArgument, ""),
        ([b"\xff\xff"], InvalidArgument, "Failed to parse warmup record: "),
        ([kind("session_run_log")], Unimplemented, "Unsupported log_type for warmup: 5"),
        ([kind("predict_streamed_log")], Unimplemented, "Unsupported log_type for warmup: 7"),
        (
            [prediction_log_pb2.PredictionLog()] * 1001,
            InvalidArgument,
            "Number of warmup records exceeds the maximum (1000) at ",
        ),
    ],
)
def test_what_fails_fails_the_load(servable, tmp_path, records, code, text):
    with pytest.raises(ServingError) as error:
        warmup.warm_up(servable, write(tmp_path, *records))
    assert type(error.value) is code
    assert text in error.value.message


def test_a_file_of_something_else_is_told(servable, tmp_path):
    write(tmp_path)
    (tmp_path / warmup.FILE).write_bytes(b"not a TFRecord file")
    with pytest.raises(DataLoss, match="Please verify your warmup data is in TFRecord format."):
        warmup.warm_up(servable, tmp_path)


@pytest.mark.parametrize("field", ["classify_log", "regress_log", "multi_inference_log"])
def test_other_kinds_run_as_they_are_told_to(servable, tmp_path, field):
    ran = []
    runs = {**warmup.RUNS, field: lambda servable, request: ran.append(type(request).__name__)}
    warmup.warm_up(servable, write(tmp_path, kind(field)), runs=runs)
    assert len(ran) == 1


def test_a_version_without_a_file_is_fine(servable, tmp_path):
    assert warmup.warm_up(servable, tmp_path) == 0
    assert servable.ran == []
