from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import saved_models
import tensorflow as tf
from saved_models import joinable, run
from tensorflow.core.protobuf import config_pb2

from serving import errors
from serving.server.engine import EngineOptions, load, precision, saved_model

X = np.random.default_rng(1).normal(size=(3, 8, 8, 96)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return saved_models.pictures_and_files(tmp_path_factory.mktemp("network") / "1")


@pytest.fixture(scope="module")
def engine(network):
    engine = load(network, EngineOptions())
    yield engine
    engine.close()


def plain(path, *arrays, signature="serving_default"):
    """What TensorFlow itself answers."""
    function = tf.saved_model.load(str(path)).signatures[signature]
    names = sorted(function.structured_input_signature[1])
    answers = function(**dict(zip(names, map(tf.constant, arrays), strict=True)))
    return [answers[name].numpy() for name in sorted(answers)]


def encoded(count):
    random = np.random.default_rng(3)
    pictures = [random.integers(0, 256, (9, 7, 3), np.uint8) for _ in range(count)]
    return np.array([tf.io.encode_png(picture).numpy() for picture in pictures], object)


def test_network_is_frozen_and_folded_and_answers_as_before(network, engine):
    assert "frozen, batch normalization folded into 1 layer" in engine.summary
    np.testing.assert_allclose(run(engine, X)[0], plain(network, X)[0], rtol=1e-5, atol=1e-5)


def test_signatures_share_a_network_and_answer_as_before(network, engine):
    files = encoded(3)
    np.testing.assert_allclose(
        run(engine, files, signature="files")[0], plain(network, files, signature="files")[0], rtol=1e-5, atol=1e-5
    )
    assert engine._shared["files"].base == "serving_default"
    # Examples could not be tried, but only their preparation is theirs alone.
    assert engine._shared["examples"].base == "files"


@pytest.mark.parametrize("names", [("serving_default", "again", "zulu"), ("b", "a", "c")])
def test_equal_signatures_run_on_one_of_them(tmp_path, names):
    network = saved_models.convolution()
    spec = tf.TensorSpec((None, 8, 8, 96), tf.float32, name="x")
    path = saved_models.save(tmp_path / "1", **dict.fromkeys(names, (network, spec)))
    engine = load(path, EngineOptions())
    assert engine.summary.startswith("frozen, batch normalization folded")
    first = min(names, key=lambda name: (name != "serving_default", name))
    assert {name: shared.base for name, shared in engine._shared.items()} == {n: first for n in names if n != first}
    for name in names:
        expected = plain(path, X, signature=name)[0]
        np.testing.assert_allclose(run(engine, X, signature=name)[0], expected, rtol=1e-5, atol=1e-5)
    engine.close()


@pytest.mark.parametrize("default", ["scaled", "logits", "raw", "raw_class"])
def test_signatures_that_are_fed_in_the_middle_of_another_answer_as_before(tmp_path, default):
    path = saved_models.fed_in_the_middle(tmp_path / "1", default)
    engine, plain = load(path, EngineOptions()), load(path, EngineOptions(optimise=False))
    assert "is fed in the middle of the graph" in engine.summary
    rows = np.array([[0, 10, 200, 255], [9, 8, 7, 6]], np.uint8)
    for name, signature in plain.signatures.items():
        given = rows if signature.inputs["x"].dtype == tf.uint8 else rows.astype(np.float32)
        expected = run(plain, given, signature=name)
        for answer, wanted in zip(run(engine, given, signature=name), expected, strict=True):
            np.testing.assert_allclose(answer, wanted, rtol=1e-5, err_msg=name)
    engine.close()
    plain.close()


def test_a_convolution_whose_output_is_fed_does_not_end_the_process(tmp_path):
    path = saved_models.fed_at_a_convolution(tmp_path / "1")
    code = """
import sys
from pathlib import Path
import numpy as np
from serving.server.engine import EngineOptions, load
engine = load(Path(sys.argv[1]), EngineOptions())
for name, channels in (("serving_default", 3), ("after", 4)):
    signature = engine.signatures[name]
    function = engine.function((signature.inputs["x"].name,), (signature.outputs["y"].name,))
    print(function(np.ones((2, 8, 8, channels), np.float32))[0].shape)
"""
    answer = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=200)
    assert answer.stdout == "(2, 4)\n(2, 4)\n", answer.stderr


def test_signatures_that_change_variables_are_not_tried(tmp_path):
    engine = load(saved_models.training(tmp_path / "1"), EngineOptions())
    ones = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(run(engine, ones)[0], ones)
    assert joinable(engine)
    assert not joinable(engine, "train")
    assert run(engine, ones, signature="count")[0] == 1
    assert run(engine, ones, signature="train")[0].tolist() == [2, 2]
    np.testing.assert_array_equal(run(engine, ones)[0], 2 * ones)
    engine.close()


@pytest.mark.parametrize("optimise", [True, False])
def test_an_input_may_be_an_output(tmp_path, optimise):
    engine = load(saved_models.handing_on(tmp_path / "1"), EngineOptions(optimise=optimise))
    x = np.array([1, 2, 3], np.float32)
    assert [answer.tolist() for answer in run(engine, x, signature="same")] == [[1, 2, 3], [2, 4, 6]]
    assert [answer.tolist() for answer in run(engine, x, signature="only")] == [[1, 2, 3]]
    assert run(engine, x)[0].tolist() == [2, 4, 6]
    engine.close()


def test_a_fault_in_optimising_refuses_no_model(network, monkeypatch, caplog):
    def fold(*_, **__):
        raise RecursionError("too deep")

    monkeypatch.setattr(saved_model.folding, "fold", fold)
    engine = load(network, EngineOptions())
    assert engine.summary.startswith("as loaded (optimising failed with RecursionError)")
    assert "too deep" in caplog.text
    np.testing.assert_allclose(run(engine, X)[0], plain(network, X)[0], rtol=1e-5, atol=1e-5)
    engine.close()


def test_what_is_optimised_can_be_switched_off(network):
    engine = load(network, EngineOptions(optimise=False))
    assert engine.summary.startswith("as loaded")
    np.testing.assert_array_equal(run(engine, X)[0].shape, (3, 5))
    engine.close()


def test_weights_stored_in_eight_bits_are_scaled_once(tmp_path):
    random = np.random.default_rng(0)
    levels = tf.Variable(random.integers(-127, 128, (3, 3, 96, 96), np.int8))
    step = tf.Variable(random.uniform(0.001, 0.01, 96).astype(np.float32))

    @saved_models.using(levels, step)
    def network(x):
        return {"y": tf.nn.relu(tf.nn.conv2d(x, tf.cast(levels, tf.float32) * step, 1, "SAME"))}

    path = saved_models.save(tmp_path / "1", serving_default=(network, tf.TensorSpec((None, 8, 8, 96), name="x")))
    engine = load(path, EngineOptions())
    assert engine.summary.startswith("frozen")
    assert {"Cast", "Mul"}.isdisjoint(operation.type for operation in engine._session.graph.get_operations())
    np.testing.assert_allclose(run(engine, X)[0], plain(path, X)[0], rtol=1e-5, atol=1e-5)
    engine.close()


def test_empty_batch_is_answered(engine):
    assert run(engine, X[:0])[0].shape == (0, 5)


def test_many_threads_get_their_own_answers(engine):
    expected = [run(engine, X[i : i + 1])[0] for i in range(3)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: run(engine, X[i % 3 : i % 3 + 1])[0], range(60)))
    for i, answer in enumerate(answers):
        np.testing.assert_allclose(answer, expected[i % 3], rtol=1e-6)


def test_wrong_type_is_refused(engine):
    with pytest.raises(errors.InvalidArgument, match="int32"):
        run(engine, X.astype(np.int32))


def test_shape_that_the_graph_cannot_run_is_the_request_s_fault(engine):
    with pytest.raises(errors.InvalidArgument):
        run(engine, X[..., :5])


@pytest.mark.parametrize("intra_op", [1, 2])
def test_control_flow_and_string_operations_run_in_the_calling_thread(network, intra_op):
    engine = load(network, EngineOptions(intra_op_parallelism=intra_op))
    answers = []
    caller = threading.Thread(target=lambda: answers.append(run(engine, encoded(5), signature="files")[0]), daemon=True)
    caller.start()
    caller.join(60)
    assert answers[0].shape == (5, 5)
    engine.close()


def test_threads_asked_for_win(network):
    engine = load(network, EngineOptions(intra_op_parallelism=3, inter_op_parallelism=2))
    assert "3 intra-op threads x 2 calls at once" in engine.summary
    assert engine.slots == 2
    engine.close()


def test_session_configuration_wins(network):
    config = config_pb2.ConfigProto(intra_op_parallelism_threads=1).SerializeToString()
    engine = load(network, EngineOptions(session_config=config))
    assert "as the session's configuration says" in engine.summary
    engine.close()


def test_wrong_options_are_refused(network):
    with pytest.raises(errors.InvalidArgument, match="ConfigProto"):
        load(network, EngineOptions(session_config=b"\xff\xff"))
    with pytest.raises(errors.InvalidArgument, match='--mixed_precision must be "bfloat16"'):
        load(network, EngineOptions(mixed_precision="float16"))


def test_table_keeps_a_model_as_it_was_loaded(tmp_path):
    engine = load(saved_models.with_table(tmp_path / "1"), EngineOptions())
    assert "uses HashTableV2, which has state" in engine.summary
    assert run(engine, np.array([b"dog", b"?", b"cat"], object))[0].tolist() == [5, -1, 3]
    engine.close()


def test_counter_keeps_its_state(tmp_path):
    count = tf.Variable(0.0)

    @saved_models.using(count)
    def add(x):
        return {"total": count.assign_add(tf.reduce_sum(x))}

    path = saved_models.save(tmp_path / "1", serving_default=(add, tf.TensorSpec((None,), tf.float32, name="x")))
    engine = load(path, EngineOptions())
    before = run(engine, np.array([0.0], np.float32))[0]
    assert run(engine, np.array([2.0], np.float32))[0] == before + 2
    assert not joinable(engine)
    engine.close()


def test_random_answers_are_not_frozen(tmp_path):
    def draw(x):
        return {"y": x + tf.random.uniform(tf.shape(x))}

    path = saved_models.save(tmp_path / "1", serving_default=(draw, tf.TensorSpec((None,), tf.float32, name="x")))
    engine = load(path, EngineOptions())
    assert "uses RandomUniform, which has state" in engine.summary
    engine.close()


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("resources", [False, True])
def test_tensorflow_1_model_is_frozen(tmp_path, as_text, resources):
    engine = load(saved_models.tensorflow_1(tmp_path / "1", as_text=as_text, resources=resources), EngineOptions())
    assert engine.summary.startswith("frozen")
    assert run(engine, np.array([[1, 1]], np.float32))[0].tolist() == [[3, 4]]
    assert joinable(engine)
    engine.close()


@pytest.mark.parametrize("legacy", [False, True])
def test_tensorflow_1_table_is_filled_from_its_assets(tmp_path, legacy):
    engine = load(saved_models.tensorflow_1_table(tmp_path / "1", legacy=legacy), EngineOptions())
    assert run(engine, np.array([b"dog", b"cat", b"?"], object))[0].tolist() == [1, 0, -1]
    engine.close()


DTYPES = [
    *("float32", "float16", "bfloat16", "float64", "uint8", "int8", "uint16", "int64", "uint64", "bool", "complex64"),
    "string",
]


def test_values_of_every_type_pass_unchanged(tmp_path):
    echoes = {name: (lambda x: {"y": tf.identity(x)}, tf.TensorSpec((None, 2), name, "x")) for name in DTYPES}
    engine = load(saved_models.save(tmp_path / "1", **echoes), EngineOptions())
    numbers, texts = np.array([[0, 1], [1, 1], [1, 0]]), np.array([[b"a\0b\0", b""], ["é".encode(), b"1"]], object)
    for name in DTYPES:
        x = texts if name == "string" else numbers.astype(tf.as_dtype(name).as_numpy_dtype)
        (y,) = run(engine, x, signature=name)
        assert isinstance(y, np.ndarray)
        assert y.dtype == x.dtype
        assert y.tolist() == x.tolist()
    engine.close()


def test_bfloat16_is_told_of(network):
    engine = load(network, EngineOptions(mixed_precision="bfloat16"))
    assert "bfloat16" in engine.summary
    np.testing.assert_allclose(run(engine, X)[0], plain(network, X)[0], rtol=0.05, atol=0.05)
    engine.close()


def test_bfloat16_is_computed_with(network, monkeypatch):
    """With or without instructions for it: an answer that is exact was computed in float32."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    engine = load(network, EngineOptions(mixed_precision="bfloat16"))
    answer, exact = run(engine, X)[0], plain(network, X)[0]
    assert 1e-4 < np.abs(answer - exact).max() / np.abs(exact).max() < 0.05
    assert joinable(engine)
    engine.close()


def test_variable_that_an_initialiser_sets_is_not_read_from_its_file(tmp_path):
    engine = load(saved_models.initialised(tmp_path / "1"), EngineOptions())
    assert "set more than once" in engine.summary
    assert run(engine, np.array([1], np.float32))[0].tolist() == [8]
    engine.close()


def test_functions_made_late_have_all_weights(network):
    engine = load(network, EngineOptions())
    expected = run(engine, X)[0]
    engine._functions.clear()
    np.testing.assert_array_equal(run(engine, X)[0], expected)
    engine.close()


def test_results_of_several_signatures_come_from_one_call(tmp_path):
    engine = load(saved_models.several_of_one_input(tmp_path / "1"), EngineOptions())
    expected = {"double": [2, 10], "twice": [2, 10], "more": [3, 7]}
    for order in itertools.permutations(expected):
        fetches = tuple(fetch for name in order for fetch in saved_models.ends(engine.signatures[name])[1])
        function = engine.function(saved_models.ends(engine.signatures["more"])[0], fetches)
        answers = function(np.array([b"1", b"5"], object))
        np.testing.assert_array_equal(answers, [expected[name] for name in order])
    engine.close()
