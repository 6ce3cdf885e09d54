from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import CLASS_NAMES, until

from pipelines import export
from pipelines.config import DataConfig
from pipelines.errors import ExportRefused, UsageError
from pipelines.runs import Run


@pytest.fixture
def run(workplace):
    return Run(workplace / "runs" / "patterns")


@pytest.fixture(scope="module")
def loaded(workplace):
    return tf.saved_model.load(str(workplace / "models" / "patterns" / "1"))


def some(data_set, count):
    return export.read_pictures(data_set.splits["test"].take(slice(count)), DataConfig(), (28, 28, 1))


def test_signatures_and_names(loaded):
    default, encoded, classify = (loaded.signatures[name] for name in ("serving_default", "serving_bytes", "classify"))
    outputs = {"logits", "probabilities", "top_scores", "top_classes", "top_labels"}
    assert set(default.structured_outputs) == set(encoded.structured_outputs) == outputs
    assert default.structured_input_signature[1]["images"].dtype == tf.uint8
    assert encoded.structured_input_signature[1]["image_bytes"].dtype == tf.string
    assert set(classify.structured_outputs) == {"classes", "scores"}


def test_all_signatures_answer_as_the_keras_model(loaded, run, data_set):
    images, encoded = some(data_set, 20)
    model = keras.saving.load_model(run.model)
    expected = tf.nn.softmax(model(images)).numpy()
    by_array = loaded.signatures["serving_default"](images=images)
    by_bytes = loaded.signatures["serving_bytes"](image_bytes=encoded)
    np.testing.assert_allclose(by_array["probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(by_array["logits"], by_bytes["logits"])
    labels = [CLASS_NAMES[index].encode() for index in expected.argmax(axis=1)]
    assert by_array["top_labels"][:, 0].numpy().tolist() == labels
    assert (np.diff(by_array["top_scores"].numpy(), axis=1) <= 0).all()


def test_a_wrong_shape_is_named(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[1,5,5,1\].*expected shape \[\?,28,28,1\]"):
        loaded.signatures["serving_default"](images=tf.zeros((1, 5, 5, 1), tf.uint8))


def test_versions_count_up_and_are_never_overwritten(run, data_set, tmp_path):
    for version in ("1", "3"):
        (tmp_path / "m" / version).mkdir(parents=True)
    assert export.export(run, data_set, tmp_path, "m", version=7, examples=4).version == 7
    next_one = export.export(run, data_set, tmp_path, "m", examples=4)
    assert (next_one.version, next_one.folder) == (8, tmp_path / "m" / "8")
    with pytest.raises(UsageError, match=r"7 already exists: versions are never overwritten. Pass --version 9"):
        export.export(run, data_set, tmp_path, "m", version=7)


@pytest.mark.parametrize(
    ("name", "version", "message"), [("a/b", None, "A model's name"), ("m", 0, "an integer from 1 to")]
)
def test_impossible_names_and_versions_are_refused(run, data_set, tmp_path, name, version, message):
    with pytest.raises(UsageError, match=message):
        export.export(run, data_set, tmp_path, name, version)


def test_a_base_path_that_is_a_file_is_refused(run, data_set, tmp_path):
    (tmp_path / "m").touch()
    with pytest.raises(UsageError, match=r"must be a folder.*Received: a file"):
        export.export(run, data_set, tmp_path, "m")


def test_a_model_that_answers_differently_is_refused(run, data_set, workplace):
    model = keras.saving.load_model(run.model)
    endpoints = export._endpoints(model, run.config.data, data_set.class_names)
    model.get_layer("logits").bias.assign_add([0.001, 0, 0])
    with pytest.raises(ExportRefused, match="differs from the trained model by 0.001"):
        export.check(model, endpoints, workplace / "models" / "patterns" / "1", some(data_set, 4), CLASS_NAMES)


def test_a_model_with_nan_is_refused(run, data_set, workplace):
    model = keras.saving.load_model(run.model)
    endpoints = export._endpoints(model, run.config.data, data_set.class_names)
    model.get_layer("logits").bias.assign_add([np.nan, 0, 0])
    with pytest.raises(ExportRefused):
        export.check(model, endpoints, workplace / "models" / "patterns" / "1", some(data_set, 4), CLASS_NAMES)


def test_swapped_class_names_are_refused(run, data_set, workplace):
    model = keras.saving.load_model(run.model)
    endpoints = export._endpoints(model, run.config.data, data_set.class_names)
    pictures = some(data_set, 20)
    with pytest.raises(ExportRefused, match="class"):
        export.check(model, endpoints, workplace / "models" / "patterns" / "1", pictures, CLASS_NAMES[::-1])


def test_a_killed_export_leaves_no_version_and_the_next_one_works(workplace, run, data_set, tmp_path):
    command = [sys.executable, "-m", "cnn_tf", "export", "patterns", "--models", tmp_path]
    base_path = tmp_path / "patterns"
    with subprocess.Popen(command, cwd=workplace, stderr=subprocess.DEVNULL) as process:
        # Killed when the SavedModel is half-written.
        until(lambda: list(base_path.glob(".aside-*/*")))
        process.kill()
    assert not list(base_path.glob("[0-9]*"))
    assert list(base_path.glob(".aside-*"))
    export.export(run, data_set, tmp_path, "patterns", examples=4)
    assert (base_path / "1" / "saved_model.pb").is_file()
    assert not list(base_path.glob(".aside-*"))
