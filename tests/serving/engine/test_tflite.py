from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from saved_models import joinable, run

from serving import errors
from serving.server.engine import EngineOptions, load

X = np.arange(6, dtype=np.float32).reshape(2, 3)
OPTIONS = EngineOptions(prefer_tflite=True, num_tflite_pools=2)


class Doubling(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
    def double(self, x):
        return {"y": x * 2.0}


@pytest.fixture(scope="module", params=["signatures", "none"])
def engine(request, tmp_path_factory):
    version = tmp_path_factory.mktemp("lite")
    module = Doubling()
    function = module.double.get_concrete_function()
    if request.param == "signatures":
        tf.saved_model.save(module, str(version), signatures=function)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(version))
    else:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    (version / "model.tflite").write_bytes(converter.convert())
    engine = load(version, OPTIONS)
    yield engine
    engine.close()


def test_any_batch_is_answered(engine):
    np.testing.assert_array_equal(run(engine, X)[0], X * 2)
    np.testing.assert_array_equal(run(engine, X[:1])[0], X[:1] * 2)
    assert engine.slots == 2
    assert "TensorFlow Lite" in engine.summary


def test_many_threads_get_their_own_answers(engine):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: run(engine, X + i)[0], range(50)))
    for i, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, (X + i) * 2)


def test_requests_are_joined(engine):
    assert joinable(engine)


def test_wrong_input_is_the_request_s_fault_and_leaves_the_model_fit(engine):
    with pytest.raises(errors.InvalidArgument):
        run(engine, X.astype(np.int32))
    np.testing.assert_array_equal(run(engine, X)[0], X * 2)


def test_noise_is_no_model(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"noise" * 100)
    with pytest.raises(errors.InvalidArgument, match="is not a TensorFlow Lite model"):
        load(tmp_path, OPTIONS)
