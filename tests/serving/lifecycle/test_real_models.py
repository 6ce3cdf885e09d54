"""The manager with real SavedModels, the real check and the real loader."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf
from fake_models import states
from support import load_servable, until

from serving.server import warmup
from serving.server.config import ModelConfig
from serving.server.manager import Manager, Settings
from serving.server.model import ServedModel


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """y = w x, w = 3."""
    folder = tmp_path_factory.mktemp("saved") / "1"
    module = tf.Module()
    module.w = tf.Variable(np.full(1000, 3, np.float32))
    module.serve = tf.function(lambda x: {"y": x * module.w[0]}, [tf.TensorSpec((None,), tf.float32, name="x")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def load(name, version, path):
    servable = load_servable(path)
    warmup.warm_up(servable, path)
    return servable


@pytest.fixture
def manager(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "m" / "1")
    manager = Manager([ModelConfig("m", tmp_path / "m")], load, Settings(poll_seconds=0.02))
    manager.start()
    yield manager
    assert manager.stop(20)


def model_states(manager):
    return {status.version: status.state.name for status in manager.statuses("m")}


def ask(manager):
    with manager.borrow("m") as lent:
        return lent.version, lent.servable.run({"x": np.ones(2, np.float32)})["y"].tolist()


def test_a_version_written_file_by_file_is_served_when_it_is_whole(manager, saved, tmp_path):
    files = sorted(file.relative_to(saved) for file in saved.rglob("*") if file.is_file())
    for file in reversed(files):  # variables first, the graph last; and between them the manager looks
        target = tmp_path / "m" / "2" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        content = (saved / file).read_bytes()
        target.write_bytes(content[: len(content) // 2])
        until(lambda: model_states(manager).get(2) in ("START", "END"))
        assert ask(manager) == (1, [3, 3])
        target.write_bytes(content)
    until(lambda: model_states(manager) == {2: "AVAILABLE", 1: "END"})
    assert ask(manager) == (2, [3, 3])


def test_a_damaged_version_is_told_and_served_once_it_is_repaired(manager, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "aside")
    data = tmp_path / "aside" / "variables" / "variables.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content[:100])
    (tmp_path / "aside").rename(tmp_path / "m" / "2")
    until(lambda: model_states(manager).get(2) == "END")
    assert "is cut off: it has 100 bytes" in manager.statuses("m", 2)[0].error.message
    assert ask(manager) == (1, [3, 3])
    (tmp_path / "m" / "2" / "variables" / data.name).write_bytes(content)
    until(lambda: model_states(manager) == {2: "AVAILABLE", 1: "END"})


def test_what_was_written_long_ago_is_served_at_once_when_it_is_renamed_into_place(saved, tmp_path, monkeypatch):
    model = ServedModel("m", load, Settings())
    model.apply(ModelConfig("m", tmp_path))
    shutil.copytree(saved, tmp_path / "aside")
    monkeypatch.setattr("serving.server.storage.SETTLE_SECONDS", 0.0)  # as if it had been
    (tmp_path / "aside").rename(tmp_path / "1")
    model.step()
    assert states(model) == {1: "AVAILABLE"}
    model.apply(None)
    model.step()
    assert states(model) == {1: "END"}


def test_a_folder_deleted_while_it_is_served_is_served_until_it_is_missed(manager, tmp_path):
    with manager.borrow("m") as lent:
        shutil.rmtree(tmp_path / "m" / "1")
        until(lambda: model_states(manager) == {1: "UNLOADING"})
        assert lent.servable.run({"x": np.ones(1, np.float32)})["y"].tolist() == [3]
    until(lambda: model_states(manager) == {1: "END"})
