"""Labels of versions: the gate before they move, the way back, and what the servers read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from google.protobuf import text_format
from support import until

from pipelines import checksums, files, model_card, releases
from pipelines.errors import DataDamaged, ReleaseRefused, RunBusy, UsageError
from pipelines.releases import Change

ACCURACIES = {1: 0.90, 2: 0.92, 3: 0.915, 4: 0.93}


def add_version(base_path, version, accuracy, data="d1", split="test"):
    """A version without a graph, with a card and a manifest."""
    folder = base_path / str(version)
    evaluation = {"accuracy": accuracy, "examples": 100, "data": data, "split": split}
    (folder / "assets.extra").mkdir(parents=True)
    (folder / model_card.JSON_FILE).write_text(json.dumps({"evaluation": evaluation if accuracy else None}))
    checksums.write_manifest(folder)


@pytest.fixture
def base_path(tmp_path):
    for version, accuracy in ACCURACIES.items():
        add_version(tmp_path / "m", version, accuracy)
    return tmp_path / "m"


def config(base_path):
    """The model's entry in models.config, read as TensorFlow Serving does."""
    from tensorflow_serving.config import model_server_config_pb2

    text = (base_path.parent / releases.CONFIG_FILE).read_text()
    message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    [model] = message.model_config_list.config
    return dict(model.version_labels), list(model.model_version_policy.specific.versions)


def test_without_labels_the_newest_version_is_served(base_path):
    releases.write_config(base_path.parent)
    assert config(base_path) == ({}, [])
    assert releases.served(base_path, releases.read(base_path)) == [4]


def test_labels_the_newest_and_the_way_back_are_served(base_path):
    assert releases.promote(base_path, 1) == Change("stable", None, 1)
    assert config(base_path) == ({"stable": 1}, [1, 4])
    assert releases.promote(base_path, 3, "canary") == Change("canary", None, 3)
    assert config(base_path) == ({"stable": 1, "canary": 3}, [1, 3, 4])
    assert releases.promote(base_path, 2) == Change("stable", 1, 2)
    assert config(base_path) == ({"stable": 2, "canary": 3}, [1, 2, 3, 4])


def test_the_next_export_keeps_labels_and_serves_its_version(base_path):
    releases.promote(base_path, 1)
    add_version(base_path, 5, 0.9)
    releases.write_config(base_path.parent)
    assert config(base_path) == ({"stable": 1}, [1, 5])


def test_rollback_goes_back_step_by_step(base_path):
    for version in (1, 2, 4):
        releases.promote(base_path, version)
    assert releases.rollback(base_path, dry_run=True) == Change("stable", 4, 2)
    assert releases.rollback(base_path) == Change("stable", 4, 2)
    assert config(base_path) == ({"stable": 2}, [1, 2, 4])
    assert releases.rollback(base_path) == Change("stable", 2, 1)
    with pytest.raises(UsageError, match="was stable before the one that is"):
        releases.rollback(base_path)


def test_promoting_the_stable_version_again_keeps_the_way_back(base_path):
    releases.promote(base_path, 1)
    releases.promote(base_path, 2)
    releases.promote(base_path, 2)
    assert releases.read(base_path) == releases.Releases({"stable": 2}, [1])


def test_a_less_accurate_version_is_refused(base_path):
    releases.promote(base_path, 2)
    before = (base_path.parent / releases.CONFIG_FILE).read_bytes()
    with pytest.raises(
        ReleaseRefused, match=r"Version 3 is right for 91\.50% of the test pictures, the stable version 2"
    ):
        releases.promote(base_path, 3, tolerance=0.004)
    assert (base_path.parent / releases.CONFIG_FILE).read_bytes() == before
    assert releases.promote(base_path, 3, tolerance=0.006).after == 3
    assert releases.promote(base_path, 1, force=True).after == 1


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ({"accuracy": None}, "accuracy of version 5 is not known"),
        ({"accuracy": 0.99, "data": "d2"}, "on different pictures"),
        ({"accuracy": 0.99, "split": "validation"}, "on different pictures"),
        ({"accuracy": float("nan")}, "is right for nan%"),
    ],
)
def test_what_cannot_be_compared_is_refused(base_path, version, message):
    releases.promote(base_path, 1)
    add_version(base_path, 5, **version)
    with pytest.raises(ReleaseRefused, match=message):
        releases.promote(base_path, 5)


def test_damaged_versions_are_refused(base_path):
    releases.promote(base_path, 1)
    releases.promote(base_path, 2)
    for version in (1, 4):
        (base_path / str(version) / "more").touch()
    with pytest.raises(ReleaseRefused, match="4 is not as it was exported: more is not in the manifest"):
        releases.promote(base_path, 4)
    with pytest.raises(ReleaseRefused, match="1 is not as it was exported"):
        releases.rollback(base_path)


def test_prune_keeps_the_newest_and_what_is_named(base_path):
    for version in (5, 6):
        add_version(base_path, version, 0.95)
    for version in (1, 2, 4):
        releases.promote(base_path, version)
    releases.promote(base_path, 5, "canary")
    assert releases.prune(base_path, 1, dry_run=True) == [1, 3]
    assert releases.versions(base_path) == [1, 2, 3, 4, 5, 6]
    assert releases.prune(base_path, 1) == [1, 3]
    assert releases.versions(base_path) == [2, 4, 5, 6]
    assert not list(base_path.glob(".aside-*"))
    assert releases.prune(base_path, 1) == []
    assert releases.rollback(base_path).after == 2


def test_what_is_damaged_is_not_kept_in_place_of_what_is_whole(base_path):
    releases.promote(base_path, 1)
    with next(path for path in (base_path / "4").rglob("*") if path.is_file()).open("ab") as file:
        file.write(b"!")
    assert releases.prune(base_path, 1) == [2]
    assert releases.versions(base_path) == [1, 3, 4]


def test_what_was_pruned_is_in_no_config(base_path):
    releases.promote(base_path, 1)
    config = base_path.parent / releases.CONFIG_FILE
    assert "versions: 1 versions: 4 " in config.read_text()
    add_version(base_path, 5, 0.9)
    assert releases.prune(base_path, 1) == [2, 3, 4]
    assert "versions: 1 versions: 5 " in config.read_text()


def test_a_dry_run_writes_nothing(base_path):
    before = sorted(base_path.parent.rglob("*"))
    assert releases.promote(base_path, 1, dry_run=True) == Change("stable", None, 1)
    assert sorted(base_path.parent.rglob("*")) == before


def test_wrong_use_is_told(base_path):
    with pytest.raises(UsageError, match=r"has no version 9\. It has: 1, 2, 3, 4"):
        releases.promote(base_path, 9)
    with pytest.raises(UsageError, match="one of stable, canary"):
        releases.promote(base_path, 1, "beta")
    for change in (releases.rollback, lambda path: releases.prune(path, 1), lambda path: releases.promote(path, 1)):
        with pytest.raises(UsageError, match="no exported model"):
            change(base_path.parent / "none")
    assert not (base_path.parent / "none").exists()


def test_a_version_removed_by_hand_loses_its_labels(base_path):
    releases.promote(base_path, 1)
    releases.promote(base_path, 2)
    for version in ("1", "2"):
        shutil.rmtree(base_path / version)
    assert releases.read(base_path) == releases.Releases()


def test_a_damaged_state_is_told(base_path):
    (base_path / releases.STATE_FILE).write_text('{"labels": []}')
    with pytest.raises(DataDamaged, match=r"releases\.json is damaged"):
        releases.promote(base_path, 1)


def test_only_one_changes_a_model_at_a_time(base_path):
    with files.lock(base_path), pytest.raises(RunBusy):
        releases.promote(base_path, 1)


# Changes a label again and again; nobody else does, so models.config must always have it.
CHANGES = """
import sys
from pathlib import Path
from pipelines import releases
base_path = Path(sys.argv[1])
for version in [1, 2] * 15:
    releases.promote(base_path, version, force=True)
    [line] = [line for line in (base_path.parent / releases.CONFIG_FILE).read_text().splitlines() if sys.argv[2] in line]
    assert f'"stable" value: {version} ' in line, line
"""


def test_labels_of_several_models_changed_at_once_all_survive(tmp_path):
    names = ("m1", "m2", "m3", "m4")
    for name in names:
        for version in ACCURACIES:
            add_version(tmp_path / name, version, 0.9)
    commands = [[sys.executable, "-c", CHANGES, str(tmp_path / name), f'"{name}"'] for name in names]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [process.communicate(timeout=100)[1] for process in running] == [""] * len(names)


def test_what_a_killed_writer_of_the_config_left_is_cleared_and_no_other_s_work(base_path):
    left, exported_now = base_path.parent / f"{files.ASIDE}1", base_path / f"{files.ASIDE}2"
    left.touch()
    exported_now.mkdir()
    releases.write_config(base_path.parent)
    assert not left.exists()
    assert exported_now.exists()


def test_a_server_answers_for_the_labels(workplace, tmp_path):
    from serving.server import process

    base_path = tmp_path / "patterns"
    for version in ("1", "2", "3"):
        shutil.copytree(workplace / "models" / "patterns" / "1", base_path / version)
    releases.promote(base_path, 1)
    releases.promote(base_path, 2, "canary", force=True)
    # The folder is /models in the container.
    text = (tmp_path / releases.CONFIG_FILE).read_text().replace('"/models/', f'"{tmp_path}/')
    (tmp_path / "local.config").write_text(text)
    with process.running([f"--model_config_file={tmp_path / 'local.config'}"]) as server:
        for path, number in (("labels/stable", "1"), ("labels/canary", "2"), ("versions/3", "3")):
            url = f"{server.rest_url}patterns/{path}/metadata"
            until(lambda url=url: version_that_answers(url))
            assert version_that_answers(url) == number


def version_that_answers(url):
    """None while it is not loaded."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["model_spec"]["version"]
    except urllib.error.HTTPError:
        return None
