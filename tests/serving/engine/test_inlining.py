from __future__ import annotations

import numpy as np
import pytest
import saved_models
import tensorflow as tf
from google.protobuf import text_format
from saved_models import run
from tensorflow.core.framework import graph_pb2

from serving import errors
from serving.server.engine import EngineOptions, grappler, inlining, load, loading
from serving.server.engine.straight import Crooked

ROWS = tf.TensorSpec((None, 3), tf.float32, name="x")
X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


@tf.function
def divided(x, y):
    tf.debugging.assert_positive(y, message="only positive divisors")
    return x / y, x - y


@tf.function
def nested(x):
    quotient, difference = divided(x, tf.reduce_max(x, axis=1, keepdims=True))
    return {"sum": quotient + difference, "same": divided(x, x)[0]}


@tf.function
def looped(x):
    return {"y": tf.map_fn(lambda row: tf.cond(row[0] > 1, lambda: divided(row, row[0])[1], lambda: row), x)}


@tf.function
def chosen(x):
    index = tf.cast(tf.reduce_max(x), tf.int32) % 3
    return {"y": tf.switch_case(index, [lambda: x + 1, lambda: divided(x, x)[0], lambda: nested(x)["sum"]])}


@tf.function
def several(x):
    parts = tf.split(x, 3, axis=1)
    values, indexes = tf.math.top_k(tf.concat(parts[::-1], axis=1), 2)
    return {"values": values, "indexes": indexes, "last": parts[2]}


@tf.function
def only_checked(x):
    with tf.control_dependencies([divided(x, x)[0]]):
        return {"y": tf.identity(x)}


FUNCTIONS = {f.__name__: f.python_function for f in (nested, looped, chosen, several, only_checked)}


@pytest.fixture(params=FUNCTIONS)
def model(request, tmp_path):
    function = FUNCTIONS[request.param]
    return function, saved_models.save(tmp_path / "1", serving_default=(function, ROWS))


def test_functions_are_put_where_they_are_called_and_answer_as_before(model):
    function, path = model
    engine = load(path, EngineOptions())
    assert engine.summary.startswith("frozen")
    expected = function(tf.constant(X))
    for name, answer in zip(sorted(expected), run(engine, X), strict=True):
        np.testing.assert_allclose(answer, expected[name], rtol=1e-6, err_msg=name)
    engine.close()


def test_no_call_is_left_but_of_loops_and_conditions(model):
    meta_graph = loading.read_meta_graph(model[1], frozenset({"serve"}))
    flat = inlining.inline(meta_graph.graph_def)
    assert not {node.op for node in flat.node} & inlining.CALLS
    names = [node.name for node in flat.node]
    assert len(names) == len(set(names))
    assert {grappler.node_of(edge) for node in flat.node for edge in node.input} <= set(names)


@pytest.mark.parametrize("name", ["nested", "only_checked"])
def test_what_functions_assert_is_asserted_still(tmp_path, name):
    path = saved_models.save(tmp_path / "1", serving_default=(FUNCTIONS[name], ROWS))
    engine = load(path, EngineOptions())
    assert engine.summary.startswith("frozen")
    with pytest.raises(errors.InvalidArgument, match="only positive divisors"):
        run(engine, -X)
    engine.close()


def test_assertion_in_a_loop_that_nothing_reads_is_made(tmp_path):
    weight = tf.Variable(tf.ones((3, 3)))

    @saved_models.using(weight)
    def checked(x):
        with tf.control_dependencies([tf.map_fn(lambda row: divided(row, row)[0], x)]):
            return {"y": tf.linalg.matmul(x, weight)}

    engine = load(saved_models.save(tmp_path / "1", serving_default=(checked, ROWS)), EngineOptions())
    assert engine.summary.startswith("frozen")
    np.testing.assert_array_equal(run(engine, X)[0], [[6] * 3, [15] * 3])
    with pytest.raises(errors.InvalidArgument, match="only positive divisors"):
        run(engine, -X)
    engine.close()


def test_loop_that_weights_flow_into_answers_as_before(tmp_path):
    weight = tf.Variable(2 * tf.ones((3, 3)))

    @saved_models.using(weight)
    def scaled(x):
        kernel = tf.identity(weight)
        return {"y": tf.map_fn(lambda row: tf.linalg.matvec(kernel, row), x)}

    engine = load(saved_models.save(tmp_path / "1", serving_default=(scaled, ROWS)), EngineOptions())
    assert engine.summary.startswith("frozen")
    np.testing.assert_array_equal(run(engine, X)[0], [[12] * 3, [30] * 3])
    engine.close()


def by_condition(texts):
    return tf.cond(tf.size(texts) > 1, lambda: tf.strings.to_number(texts), lambda: -tf.strings.to_number(texts))


def by_pipeline(texts):
    numbers = tf.data.Dataset.from_tensor_slices(texts).map(tf.strings.to_number)
    return numbers.batch(tf.size(texts, tf.int64)).get_single_element()


@pytest.mark.parametrize("prepare", [by_condition, by_pipeline])
def test_what_prepares_for_another_signature_may_be_a_condition_or_a_pipeline(tmp_path, prepare):
    weight = tf.Variable(2.0)
    texts = tf.TensorSpec((None,), tf.string, name="texts")
    prepared = tf.function(prepare, input_signature=[texts]).get_concrete_function()
    path = saved_models.save(
        tmp_path / "1",
        serving_default=(saved_models.using(weight)(lambda x: {"y": x * weight}), tf.TensorSpec((None,), tf.float32)),
        texts=(saved_models.using(weight)(lambda texts: {"y": prepared(texts) * weight}), texts),
    )
    engine = load(path, EngineOptions())
    assert engine.summary.startswith("frozen")
    np.testing.assert_array_equal(run(engine, np.array([b"1", b"5"], object), signature="texts")[0], [2, 10])
    engine.close()


def test_function_that_xla_compiles_stays_a_call(tmp_path):
    compiled = tf.function(lambda x: x * 2 + 1, jit_compile=True)
    path = saved_models.save(tmp_path / "1", serving_default=(lambda x: {"y": compiled(x)}, ROWS))
    flat = inlining.inline(loading.read_meta_graph(path, frozenset({"serve"})).graph_def)
    assert any(node.op in inlining.CALLS for node in flat.node)
    engine = load(path, EngineOptions())
    np.testing.assert_array_equal(run(engine, X)[0], 2 * X + 1)
    engine.close()


@pytest.mark.parametrize(("name", "expected"), [("several", False), ("looped", True), ("chosen", True)])
def test_loops_and_conditions_make_a_graph_crooked(tmp_path, name, expected):
    path = saved_models.save(tmp_path / "1", serving_default=(FUNCTIONS[name], ROWS))
    meta_graph = loading.read_meta_graph(path, frozenset({"serve"}))
    fetches = [info.name for info in meta_graph.signature_def["serving_default"].outputs.values()]
    assert Crooked(inlining.inline(meta_graph.graph_def)).leads_to(fetches) == expected


def test_equal_functions_are_kept_once(tmp_path):
    looped = FUNCTIONS["looped"]
    path = saved_models.save(tmp_path / "1", serving_default=(looped, ROWS), again=(looped, ROWS))
    flat = inlining.inline(loading.read_meta_graph(path, frozenset({"serve"})).graph_def)
    bodies = [node.attr["body"].func.name for node in flat.node if node.op in ("While", "StatelessWhile")]
    assert len(bodies) > len(set(bodies)) == 1


def test_functions_are_equal_whatever_the_length_of_their_names(tmp_path):
    looped = FUNCTIONS["looped"]
    path = saved_models.save(tmp_path / "1", serving_default=(looped, ROWS), again=(looped, ROWS))
    graph = loading.read_meta_graph(path, frozenset({"serve"})).graph_def
    conditions = {node.attr["cond"].func.name for node in inlining.inline(graph).node if "cond" in node.attr}
    (condition,) = conditions
    renamed = text_format.Parse(str(graph).replace(condition, f"{condition}_of_a_longer_name"), graph_pb2.GraphDef())
    flat = inlining.inline(renamed)
    assert len({node.attr["cond"].func.name for node in flat.node if "cond" in node.attr}) == 1
