"""Whether a version folder holds all that its model needs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import DataLoss, NotFound
from serving.server import bundle, completeness

INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel of TensorFlow 2 with variables and an asset."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "words.txt").write_text("one\ntwo\n")
    module = tf.Module()
    module.weights = [tf.Variable(np.arange(size, dtype=np.float32), name=f"w{size}") for size in range(1, 40)]
    module.asset = tf.saved_model.Asset(str(folder / "words.txt"))
    module.serve = tf.function(lambda x: x + sum(tf.reduce_sum(w) for w in module.weights), [tf.TensorSpec((None,))])
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": module.serve})
    return folder / "1"


@pytest.fixture
def version(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "1")


def test_a_whole_version_is_complete(version):
    completeness.check(version)


@pytest.mark.parametrize("name", ["saved_model.pb", INDEX, DATA, "assets/words.txt"])
def test_missing_files_may_still_come(version, name):
    (version / name).unlink()
    with pytest.raises(NotFound, match=f"{name} is missing"):
        completeness.check(version)


def test_variables_that_are_not_there_at_all_are_missed(version):
    shutil.rmtree(version / "variables")
    with pytest.raises(NotFound, match=f"{INDEX} is missing"):
        completeness.check(version)


@pytest.mark.parametrize("name", ["saved_model.pb", INDEX, DATA])
@pytest.mark.parametrize("kept", [0, 0.3, 0.999])
def test_files_that_are_cut_off_are_damaged(version, name, kept):
    content = (version / name).read_bytes()
    (version / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataLoss):
        completeness.check(version)


def test_sizes_of_data_files_come_from_the_index(saved):
    assert bundle.shard_sizes(saved / INDEX) == [(saved / DATA).stat().st_size]


def test_models_of_tensorflow_1(tmp_path):
    signature = tf.compat.v1.saved_model.predict_signature_def

    def save(name, *, variable):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.float32, (None,))
            y = x + (tf.compat.v1.get_variable("w", (), use_resource=False) if variable else 1.0)
            session.run(tf.compat.v1.global_variables_initializer())
            builder = tf.compat.v1.saved_model.Builder(str(tmp_path / name))
            builder.add_meta_graph_and_variables(
                session, ["serve"], signature_def_map={"s": signature({"x": x}, {"y": y})}
            )
            builder.save()

    save("with", variable=True)
    save("without", variable=False)
    completeness.check(tmp_path / "with")
    completeness.check(tmp_path / "without")
    shutil.rmtree(tmp_path / "with" / "variables")
    with pytest.raises(NotFound):
        completeness.check(tmp_path / "with")


def test_a_graph_as_text(version):
    from google.protobuf import text_format
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (version / "saved_model.pb").unlink()
    (version / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
    completeness.check(version)
    (version / "saved_model.pbtxt").write_text("meta_graphs {")
    with pytest.raises(DataLoss):
        completeness.check(version)


def test_a_tflite_model_is_complete_by_itself(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 20)
    completeness.check(tmp_path, prefer_tflite=True)
    with pytest.raises(NotFound, match="saved_model.pb"):
        completeness.check(tmp_path)
    (tmp_path / "model.tflite").write_bytes(b"no")
    with pytest.raises(DataLoss, match=r"model\.tflite"):
        completeness.check(tmp_path, prefer_tflite=True)


def write_manifest(version):
    files = {
        str(file.relative_to(version)): {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        }
        for file in version.rglob("*")
        if file.is_file()
    }
    (version / "assets.extra").mkdir(exist_ok=True)
    (version / "assets.extra" / "manifest.json").write_text(json.dumps({"files": files}))


def test_a_manifest_is_verified(version):
    write_manifest(version)
    completeness.check(version)
    content = bytearray((version / DATA).read_bytes())
    content[5] ^= 1
    (version / DATA).write_bytes(content)
    with pytest.raises(DataLoss, match=f"{DATA} has SHA-256 .* says"):
        completeness.check(version)
    (version / DATA).write_bytes(content[:-1])
    with pytest.raises(DataLoss, match=f"{DATA} has .* bytes"):
        completeness.check(version)
    (version / DATA).unlink()
    with pytest.raises(NotFound, match=DATA):
        completeness.check(version)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"files": 3}', '{"files": {"a": {}}}', "[" * 100_000]
    + [json.dumps({"files": {name: {"sha256": "", "bytes": 0}}}) for name in ("/etc/passwd", "../x")],
)
def test_a_broken_manifest_is_told(version, text):
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / "manifest.json").write_text(text)
    with pytest.raises(DataLoss, match=r"manifest\.json"):
        completeness.check(version)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_index_is_told_or_read(saved, tmp_path, data):
    content = bytearray((saved / INDEX).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "variables.index").write_bytes(content[: data.draw(st.integers(0, len(content)))] or content)
    with contextlib.suppress(DataLoss):
        assert min(bundle.shard_sizes(tmp_path / "variables.index"), default=0) >= 0
