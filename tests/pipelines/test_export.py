from __future__ import annotations

import signal
import struct
import subprocess
import sys
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from encoded_pictures import chunk
from support import CLASS_NAMES, load_servable, until

from pipelines import export
from pipelines.config import DataConfig, ExportConfig
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


def test_the_embedded_server_freezes_it(workplace):
    servable = load_servable(workplace / "models" / "patterns" / "1")
    assert servable.summary.startswith("frozen")
    servable.close()


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


BOMBS = """
import resource, sys
import tensorflow as tf
from pathlib import Path

signatures = tf.saved_model.load(sys.argv[1]).signatures
good, *bombs = (Path(path).read_bytes() for path in sys.argv[2:])
signatures["serving_bytes"](image_bytes=tf.constant([good, good]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in bombs:
    try:
        signatures["serving_bytes"](image_bytes=tf.constant([good, bomb]))
    except tf.errors.InvalidArgumentError as error:
        print(error)
print("KiB:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def bomb(side):
    rows = zlib.compressobj(9)
    content = b"".join(rows.compress(bytes(1 + side)) for _ in range(200)) + rows.flush()
    header = (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    parts = [chunk(*part) for part in (header, (b"IDAT", content), (b"IEND", b""))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_bombs_are_refused_by_tensorflow_alone_and_take_no_memory(workplace, tmp_path):
    sides = (20_000, 60_000)
    names = [tmp_path / name for name in ("good.png", "bomb.png", "larger.png")]
    good = tf.io.encode_png(np.zeros((28, 28, 1), np.uint8)).numpy()
    for name, encoded in zip(names, (good, *map(bomb, sides)), strict=True):
        name.write_bytes(encoded)
    command = [sys.executable, "-I", "-c", BOMBS, workplace / "models" / "patterns" / "1", *names]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300).stdout
    for side in sides:
        assert f"Picture 1 of the batch announces {side * side} pixels; at most 178956970 are decoded" in output
    assert int(output.split("KiB:")[1]) < 20_000


def test_a_limit_below_the_data_set_s_own_pictures_is_refused(run, data_set, tmp_path):
    with pytest.raises(ExportRefused, match="own pictures.*announces 784 pixels; at most 783 are decoded"):
        export.export(run, data_set, tmp_path, "m", examples=4, config=ExportConfig(max_pixels=783))


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


@pytest.fixture(scope="module")
def check(workplace, data_set):
    """Holds the exported version's answers against a model, and class names."""
    images = export.Endpoint(None, tf.TensorSpec((None, 28, 28, 1), tf.uint8, "images"), lambda given: given.images)

    def check(model, class_names):
        pictures = some(data_set, 20)
        expected = export.expect(model, pictures.images, class_names, export.DEFAULTS)
        return export.check({"serving_default": images}, workplace / "models" / "patterns" / "1", pictures, expected)

    return check


def test_a_model_that_answers_differently_is_refused(check, run):
    model = keras.saving.load_model(run.model)
    with pytest.raises(ExportRefused, match="class"):
        check(model, CLASS_NAMES[::-1])
    for change, message in ((0.01, r"by 0\.00\d+ on"), (np.nan, "by nan on")):
        model.get_layer("logits").bias.assign_add([change, 0, 0])
        with pytest.raises(ExportRefused, match=f"differs from the trained model {message}"):
            check(model, CLASS_NAMES)


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_an_export_that_is_asked_to_stop_leaves_nothing(workplace, tmp_path, asked):
    command = [sys.executable, "-m", "cnn_tf", "export", "patterns", "--models", tmp_path]
    with subprocess.Popen(command, cwd=workplace, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: list((tmp_path / "patterns").glob(".aside-*/*")))
        process.send_signal(asked)
        assert "Interrupted. Nothing is half-written" in process.stderr.read()
    assert process.returncode == 130
    assert [path.name for path in tmp_path.glob("patterns/*")] == [".lock"]


def test_a_killed_export_leaves_no_version_and_the_next_one_is_one_above_the_highest(
    workplace, run, data_set, tmp_path
):
    command = [sys.executable, "-m", "cnn_tf", "export", "patterns", "--models", tmp_path]
    base_path = tmp_path / "patterns"
    for version in ("1", "3"):
        (base_path / version).mkdir(parents=True)
    with subprocess.Popen(command, cwd=workplace, stderr=subprocess.DEVNULL) as process:
        # Killed when the SavedModel is half-written.
        until(lambda: list(base_path.glob(".aside-*/*")))
        process.kill()
    assert sorted(path.name for path in base_path.glob("[0-9]*")) == ["1", "3"]
    assert list(base_path.glob(".aside-*"))
    exported = export.export(run, data_set, tmp_path, "patterns", examples=4)
    assert (exported.version, exported.folder) == (4, base_path / "4")
    assert (base_path / "4" / "saved_model.pb").is_file()
    assert not list(base_path.glob(".aside-*"))
    with pytest.raises(UsageError, match=r"3 already exists: versions are never overwritten. Pass --version 5"):
        export.export(run, data_set, tmp_path, "patterns", version=3)
