"""What a graph says of itself, and which graphs are not published."""

from __future__ import annotations

import pytest
import tensorflow as tf

from pipelines import saved_model
from pipelines.errors import ExportRefused


def save(folder, function):
    module = tf.Module()
    module.serve = tf.function(function, [tf.TensorSpec((None, 2), name="x")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return saved_model.read(folder)


def test_signatures_and_operators(tmp_path):
    graph = save(tmp_path, lambda x: {"y": tf.map_fn(tf.exp, x)})
    (inputs, outputs) = graph.signatures["serving_default"].values()
    assert list(graph.signatures) == ["serving_default"]
    assert inputs == {"x": {"dtype": "float32", "shape": [None, 2]}}
    assert outputs == {"y": {"dtype": "float32", "shape": [None, 2]}}
    assert "Exp" in graph.operators, "it is in the body of a loop"
    saved_model.require_portable(graph)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: {"y": tf.numpy_function(lambda value: value, [x], tf.float32)}, "PyFunc"),
        (lambda x: {"y": tf.py_function(lambda value: value, [x], tf.float32)}, "EagerPyFunc"),
    ],
)
def test_operators_that_call_python_are_refused(tmp_path, function, operator):
    with pytest.raises(ExportRefused, match=rf"only in the program that made it: its graph has {operator}\."):
        saved_model.require_portable(save(tmp_path, function))


def test_what_tensorflow_2_20_does_not_know_is_refused():
    with pytest.raises(ExportRefused, match=r"2\.20, which does not know DecodeJxl"):
        saved_model.require_portable(saved_model.Graph({}, ["Add", "DecodeJxl"], 12))
    with pytest.raises(ExportRefused, match="from graph version 2400 on"):
        saved_model.require_portable(saved_model.Graph({}, ["Add"], 2400))
