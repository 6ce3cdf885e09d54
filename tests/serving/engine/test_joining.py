from __future__ import annotations

import pytest
import saved_models
import tensorflow as tf
from saved_models import joinable
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.server.engine import EngineOptions, load, recorded

ROWS = tf.TensorSpec((None, 3), tf.float32, name="x")


def engine_of(folder, function, *specs):
    return load(saved_models.save(folder / "1", serving_default=(function, *(specs or [ROWS]))), EngineOptions())


RIGHT = {
    "row by row": lambda x: {"y": tf.nn.softmax(x * 2)},
    "picked": lambda x: {"y": tf.argmax(x, axis=1)},
}
WRONG = {
    "softmax over the batch": lambda x: {"y": tf.nn.softmax(x, axis=0)},
    "mean of the batch taken off": lambda x: {"y": x - tf.reduce_mean(x, axis=0)},
    "one answer for all": lambda x: {"y": tf.reduce_sum(x, axis=0)},
    "sorted": lambda x: {"y": tf.sort(x, axis=0, direction="DESCENDING")},
    "one of two answers": lambda x: {"y": x, "z": tf.reduce_sum(x)},
    "numbered": lambda x: {"y": tf.range(tf.shape(x)[0])},
    "scaled if any value is above 1": lambda x: {"y": tf.cond(tf.reduce_max(x) > 1, lambda: x / 255, lambda: x)},
    "chosen by any value above 1": lambda x: {"y": tf.where(tf.reduce_max(x) > 1, x / 255, x)},
    "chosen by all values above 1": lambda x: {"y": tf.where(tf.reduce_min(x) > 1, x / 255, x)},
    "chosen by the sum's sign": lambda x: {"y": tf.where(tf.reduce_sum(x) > 0, x, -x)},
    "divided by the largest": lambda x: {"y": x / tf.maximum(tf.reduce_max(x), 50)},
    "clipped by the norm of all": lambda x: {"y": tf.clip_by_global_norm([x], 40.0)[0][0]},
    "halved while any is large": lambda x: {
        "y": tf.while_loop(lambda y: tf.reduce_max(tf.abs(y)) > 1.5, lambda y: [y / 2], [x])[0]
    },
}
PIXELS = tf.TensorSpec((None, 3), tf.uint8, name="x")


@pytest.mark.parametrize("name", RIGHT)
def test_independent_rows_may_be_joined(tmp_path, name):
    engine = engine_of(tmp_path, RIGHT[name])
    assert joinable(engine)
    engine.close()


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_depend_on_each_other_are_never_joined(tmp_path, name):
    engine = engine_of(tmp_path, WRONG[name])
    assert not joinable(engine)
    engine.close()


def test_a_model_that_loops_for_ever_with_large_values_is_loaded_and_not_joined(tmp_path):
    def loop(x):
        return {"y": tf.while_loop(lambda y: tf.reduce_max(y) > 250, lambda y: [tf.maximum(y, x)], [x])[0]}

    engine = engine_of(tmp_path, loop)
    assert not joinable(engine)
    engine.close()


def test_pixels_that_depend_on_each_other_are_never_joined(tmp_path):
    engine = engine_of(tmp_path, lambda x: {"y": tf.where(tf.reduce_max(x) > 128, x // 2, x)}, PIXELS)
    assert not joinable(engine)
    engine.close()


def test_the_answer_that_is_rowwise_may_be_joined_alone(tmp_path):
    engine = engine_of(tmp_path, WRONG["one of two answers"])
    feeds, (y, z) = saved_models.ends(engine.signatures["serving_default"])
    assert engine.joinable(feeds, (y,))
    assert not engine.joinable(feeds, (z,))
    engine.close()


def test_fixed_batch_is_not_joined(tmp_path):
    engine = engine_of(tmp_path, lambda x: {"y": x * 2}, tf.TensorSpec((2, 3), tf.float32, name="x"))
    assert not joinable(engine)
    engine.close()


def test_strings_that_could_not_be_tried_are_not_joined(tmp_path):
    def parse(x):
        return {"y": tf.io.parse_example(x, {"must": tf.io.FixedLenFeature((), tf.float32)})["must"]}

    engine = engine_of(tmp_path, parse, tf.TensorSpec((None,), tf.string, name="x"))
    assert not joinable(engine)
    engine.close()


FEATURES = {
    "must": tf.io.FixedLenFeature((), tf.float32),
    "count": tf.io.FixedLenFeature((), tf.int64),
    "name": tf.io.FixedLenFeature((), tf.string),
}


def example():
    features = {
        "must": tf.train.Feature(float_list=tf.train.FloatList(value=[2.0])),
        "count": tf.train.Feature(int64_list=tf.train.Int64List(value=[4])),
        "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a"])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_examples_of_which_one_was_recorded_are_joined(tmp_path):
    def parse(x):
        return {"y": tf.io.parse_example(x, FEATURES)["must"]}

    path = saved_models.save(tmp_path / "1", serving_default=(parse, tf.TensorSpec((None,), tf.string, name="x")))
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([example()]))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    (path / recorded.FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(path / recorded.FILE)) as writer:
        writer.write(log.SerializeToString())
    engine = load(path, EngineOptions())
    assert joinable(engine)
    engine.close()


def test_encoded_pictures_are_joined(tmp_path):
    engine = load(saved_models.pictures_and_files(tmp_path / "1"), EngineOptions())
    assert joinable(engine, "files")
    assert not joinable(engine, "examples")
    engine.close()
