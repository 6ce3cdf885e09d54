from __future__ import annotations

import os
import time

import pytest

from serving.errors import InvalidArgument
from serving.server import config, storage


def test_versions_are_names_that_are_integers(tmp_path):
    for name in (
        "1",
        "00000123",
        "7",
        "07",
        "20170111173521",
        "v2",
        "2.denied",
        "tmp",
        "0.1",
        "1_000",
        ".aside-4",
        str(2**63),
    ):
        (tmp_path / name).mkdir()
    found = storage.versions(tmp_path)
    assert sorted(found) == [1, 7, 123, 20170111173521]
    assert found[7].name == "7"  # of two names for one number, the lexicographically last
    assert found[123].name == "00000123"


def version(folder, *names):
    for name in ("saved_model.pb", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


INDEX, ONE = "variables/variables.index", "variables/variables.data-00000-of-00001"
FIRST, SECOND = "variables/variables.data-00000-of-00002", "variables/variables.data-00001-of-00002"


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        ((INDEX, ONE), None),
        ((), None),  # a model may have no variables
        ((INDEX,), ONE),
        ((ONE,), INDEX),
        ((INDEX, FIRST), SECOND),
        ((INDEX, SECOND), FIRST),
        ((INDEX, FIRST, SECOND), None),
    ],
)
def test_what_a_half_written_version_lacks(tmp_path, names, absent):
    assert storage.missing(version(tmp_path, *names)) == absent


def test_nothing_is_a_version_without_its_graph(tmp_path):
    assert storage.missing(tmp_path) == "saved_model.pb"


def test_a_version_is_settled_when_nothing_changed_lately_or_since_the_last_look(tmp_path):
    version(tmp_path, INDEX, ONE)
    assert not storage.is_settled(tmp_path, None)
    before = storage.fingerprint(tmp_path)
    assert storage.is_settled(tmp_path, before)
    (tmp_path / ONE).write_text("more")
    assert not storage.is_settled(tmp_path, before)
    past = time.time() - 60
    for entry in (tmp_path, *tmp_path.rglob("*")):
        os.utime(entry, (past, past))
    assert storage.is_settled(tmp_path, None)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {5}),
        ("latest { num_versions: 2 }", {3, 5}),
        ("latest { num_versions: 0 }", {5}),
        ("all {}", {1, 3, 5}),
        ("specific { versions: 1 versions: 4 }", {1}),
        ("specific {}", set()),
    ],
)
def test_version_policies(tmp_path, policy, expected):
    file = tmp_path / "models.config"
    file.write_text(
        f"""model_config_list {{ config {{ name: "m" base_path: "{tmp_path}" model_platform: "tensorflow"
            model_version_policy {{ {policy} }} }} }}"""
    )
    (model,) = config.from_file(file)
    assert model.policy([1, 3, 5]) == expected
    assert model.policy([]) == set()


ENTRY = 'config {{ name: "m" base_path: "{path}" model_platform: "{platform}" }}'


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([ENTRY.format(path="/m", platform="tensorflow")] * 2, "Illegal to list model m multiple times in config list"),
        (
            [ENTRY.format(path="m", platform="tensorflow")],
            "Expected model m to have an absolute path or URI; got base_path()=m",
        ),
        ([ENTRY.format(path="/m", platform="other")], "Model m requests unsupported platform other"),
        (["config { nme: 3 }"], "Error parsing text-format tensorflow.serving.ModelServerConfig"),
    ],
)
def test_wrong_config_files_are_refused(tmp_path, entries, message):
    (tmp_path / "models.config").write_text("model_config_list { " + " ".join(entries) + " }")
    with pytest.raises(InvalidArgument) as error:
        config.from_file(tmp_path / "models.config")
    assert message in str(error.value)


def test_a_config_without_models_serves_nothing(tmp_path):
    (tmp_path / "models.config").write_text("")
    assert config.from_file(tmp_path / "models.config") == []
