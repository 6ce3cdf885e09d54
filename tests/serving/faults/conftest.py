from __future__ import annotations

import shutil

import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def doubling(tmp_path_factory):
    """A version folder whose model doubles `x`, and has a variable to be damaged.

    Signatures: `slow` takes some seconds for numbers from 2 up, which the server's own tries of it are not; `failing` raises
    for positive ones.
    """

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def double(x):
        return {"y": x * module.factor}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def slow(x):
        matrix = tf.ones((300, 300)) / 300 + tf.reduce_sum(x) * 0
        end = tf.timestamp() + 4 * tf.cast(tf.reduce_any(x >= 2), tf.float64)
        turned = tf.while_loop(lambda m: tf.timestamp() < end, lambda m: (tf.matmul(m, m),), (matrix,))[0]
        return {"y": x + tf.math.multiply_no_nan(turned[0, 0], 0.0)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def failing(x):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x < 0), ["only negative numbers"])]):
            return {"y": tf.identity(x)}

    module = tf.Module()
    module.factor = tf.Variable(2.0)
    module.table = tf.Variable(tf.ones((64, 1024)))
    folder = tmp_path_factory.mktemp("doubling") / "1"
    signatures = {"serving_default": double, "slow": slow, "failing": failing}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="session")
def endless(tmp_path_factory):
    """A version folder whose model never comes back from numbers from 2 up."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def turn(x):
        return {"y": tf.while_loop(lambda y: tf.reduce_any(y >= 2), lambda y: (y * 1,), (x,))[0]}

    folder = tmp_path_factory.mktemp("endless") / "1"
    tf.saved_model.save(tf.Module(), str(folder), signatures=turn)
    return folder


@pytest.fixture
def models(doubling, tmp_path):
    """A folder of this test's own with the models `first` and `second`, version 1 each."""
    for name in ("first", "second"):
        shutil.copytree(doubling, tmp_path / "models" / name / "1")
    return tmp_path / "models"
