"""No shape of an input ends the process: oneDNN's convolutions abort where an axis is missing."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.client import PredictClient
from serving.errors import InvalidArgument
from serving.server import process


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    module = tf.Module()
    module.kernel = tf.Variable(tf.random.normal((3, 3, 2, 4)))

    def serve(x):
        x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, module.kernel, 1, "SAME")), 2, 2, "SAME")
        return {"y": tf.nn.avg_pool2d(x, 2, 1, "SAME")}

    def flat(x):
        return {"y": tf.nn.conv2d(x[:, None, None, None], module.kernel[:1, :1, :1], 1, "SAME")[:, 0, 0]}

    module.serve = tf.function(serve, [tf.TensorSpec((None, 8, 8, 2), tf.float32, name="x")])
    module.flat = tf.function(flat, [tf.TensorSpec((None,), tf.float32, name="x")])
    signatures = {"serving_default": module.serve, "flat": module.flat}
    tf.saved_model.save(module, str(folder / "net" / "1"), signatures=signatures)
    with process.running([str(folder)]) as server, PredictClient(server.grpc_address, "net", check=False) as connected:
        yield connected


@pytest.mark.parametrize("shape", [(), (2,), (2, 2), (8, 8, 2), (1, 8, 8, 2, 1)])
def test_another_number_of_axes_is_refused(client, shape):
    with pytest.raises(InvalidArgument, match=r"Input 'x' must have shape \(batch, 8, 8, 2\). Received: "):
        client.predict({"x": np.zeros(shape, np.float32)})


@pytest.mark.parametrize("shape", [(), (2, 2)])
def test_another_number_of_axes_than_one_is_refused(client, shape):
    assert client.predict({"x": np.zeros(3, np.float32)}, signature="flat")["y"].shape == (3, 4)
    with pytest.raises(InvalidArgument, match=r"Input 'x' must have shape \(batch\). Received: "):
        client.predict({"x": np.zeros(shape, np.float32)}, signature="flat")


@given(st.lists(st.sampled_from([0, 1, 2, 3, 8, 9]), max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_is_answered_or_refused(client, shape):
    with contextlib.suppress(InvalidArgument):
        client.predict({"x": np.ones(shape, np.float32)})
    assert client.predict({"x": np.ones((1, 8, 8, 2), np.float32)})["y"].shape == (1, 4, 4, 4)
