from __future__ import annotations

import gc
import shutil

import pytest
import saved_models
import tensorflow as tf

from serving import errors
from serving.server.engine import EngineOptions, load


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return saved_models.tensorflow_1(tmp_path_factory.mktemp("whole") / "1", resources=True)


@pytest.fixture
def version(tmp_path, whole):
    return shutil.copytree(whole, tmp_path / "1")


def truncate(file, size):
    file.write_bytes(file.read_bytes()[:size])


def data(version):
    return next(version.glob("variables/variables.data-*"))


BROKEN = {
    "empty folder": (lambda v: [file.unlink() for file in v.rglob("*") if file.is_file()], errors.NotFound),
    "no folder": (shutil.rmtree, errors.NotFound),
    "truncated graph": (lambda v: truncate(v / "saved_model.pb", 100), errors.OutOfRange),
    "empty graph": (lambda v: truncate(v / "saved_model.pb", 0), errors.NotFound),
    "graph is noise": (lambda v: (v / "saved_model.pb").write_bytes(b"\xff" * 500), errors.OutOfRange),
    "no variables": (lambda v: shutil.rmtree(v / "variables"), errors.FailedPrecondition),
    "index without data": (lambda v: data(v).unlink(), errors.NotFound),
    "data without index": (lambda v: (v / "variables" / "variables.index").unlink(), errors.ServingError),
    "truncated data": (lambda v: truncate(data(v), 3), errors.OutOfRange),
    "truncated index": (lambda v: truncate(v / "variables" / "variables.index", 20), errors.ServingError),
}


@pytest.mark.parametrize("name", BROKEN)
def test_version_that_is_not_whole_is_refused_in_one_line(version, name):
    damage, error = BROKEN[name]
    damage(version)
    with pytest.raises(error) as raised:
        load(version, EngineOptions())
    assert "\n" not in raised.value.message
    assert str(version) in raised.value.message or "tags" in raised.value.message


def test_broken_text_graph_is_refused(tmp_path):
    version = saved_models.tensorflow_1(tmp_path / "1", as_text=True)
    truncate(version / "saved_model.pbtxt", 100)
    with pytest.raises(errors.OutOfRange, match="pbtxt is not a whole SavedModel"):
        load(version, EngineOptions())


def test_other_tags_are_not_found_and_those_there_are_named(version):
    with pytest.raises(errors.NotFound, match=r"supplied tags: { gpu serve }. The SavedModel has: { serve }"):
        load(version, EngineOptions(saved_model_tags="serve,gpu"))


def test_failed_load_leaves_no_session(version):
    truncate(data(version), 3)
    with pytest.raises(errors.ServingError):
        load(version, EngineOptions())
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, tf.compat.v1.Session) and not one._closed]
