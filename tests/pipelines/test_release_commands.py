"""`cnn-tf verify` and `cnn-tf release` as a user meets them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from support import run_cli

from pipelines import model_card, releases

DATA = "variables/variables.data-00000-of-00001"


@pytest.fixture
def models(workplace, tmp_path):
    """A models folder with the versions 1 and 2 of a model, of which 2 is damaged."""
    for version in ("1", "2"):
        shutil.copytree(workplace / "models" / "patterns" / "1", tmp_path / "models" / "patterns" / version)
    damaged = tmp_path / "models" / "patterns" / "2" / DATA
    content = bytearray(damaged.read_bytes())
    content[5] ^= 1
    damaged.write_bytes(content)
    return tmp_path / "models"


def test_verify_tells_each_finding_in_a_line(models):
    whole = run_cli("verify", "models/patterns/1", cwd=models.parent)
    assert (whole.returncode, whole.stdout) == (0, "")
    assert whole.stderr == "models/patterns/1: as it was exported\n"
    for path in ("models/patterns", "models"):
        damaged = run_cli("verify", path, cwd=models.parent)
        assert damaged.returncode == 1
        [line] = damaged.stdout.splitlines()
        assert line.startswith(f"models/patterns/2: {DATA} has SHA-256 ")
        assert damaged.stderr == whole.stderr


def test_the_server_refuses_a_version_that_fails(models):
    command = [sys.executable, "-m", "serving.server", "--check", models]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert answer.returncode == 1
    assert f"{DATA} has SHA-256" in " ".join((answer.stdout + answer.stderr).split())


@pytest.mark.parametrize("path", ["nowhere", ".", "models/models.config"])
def test_verify_wants_a_version_or_a_model(models, path):
    (models / "models.config").touch()
    answer = run_cli("verify", path, cwd=models.parent)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "Expected a version such as models/NAME/3" in answer.stderr


def columns(table, *names):
    """Of a table without lines, whose cells are as wide as its headings at least."""
    header, *rows = table.splitlines()
    places = [(found.start(), found.end()) for found in re.finditer(r"\S+ *", header)]
    cells = [[row[begin:end].strip() for begin, end in places] for row in (header, *rows)]
    return [[row[cells[0].index(name)] for name in names] for row in cells[1:]]


def test_the_list_of_versions_fits_a_terminal_of_80_columns(models):
    for label in ("stable", "canary"):
        releases.promote(models / "patterns", 1, label)
    card = models / "patterns" / "1" / "assets.extra" / "model_card.json"
    told = json.loads(card.read_text())
    told["optimization"] = {"name": "bfloat16", "xla": True}
    told["evaluation"] = {"accuracy": 0.90841, "examples": 10_000, "data": "7f4c48342b", "split": "test"}
    card.write_text(json.dumps(told))
    answer = run_cli("release", "list", "patterns", cwd=models.parent)
    assert "…" not in answer.stdout
    assert all(whole in answer.stdout for whole in ("90.84%", "10,000", "7f4c4834", "bfloat16", told["exported"]))


def test_the_list_tells_what_is_not_as_it_should_be(models):
    base_path = models / "patterns"
    releases.promote(base_path, 1)
    config = (models / releases.CONFIG_FILE).read_text()
    releases.promote(base_path, 1, "canary")
    assert run_cli("release", "list", "patterns", cwd=models.parent).stderr == ""
    (models / releases.CONFIG_FILE).write_text(config)  # as if it had been killed before this was written
    (base_path / "2" / model_card.JSON_FILE).write_text("{")
    answer = run_cli("release", "list", "patterns", cwd=models.parent)
    damaged, untold = answer.stderr.splitlines()
    assert answer.returncode == 0
    assert columns(answer.stdout, "version", "form") == [["1", "float32"], ["2", "–"]]
    assert "model_card.json is damaged" in damaged
    assert untold.endswith("Have it written anew: cnn-tf release promote patterns 1 --label stable")
    shutil.rmtree(base_path / "1")
    lost = run_cli("release", "list", "patterns", cwd=models.parent).stderr.splitlines()
    assert lost[:2] == [f"{label} was version 1, which is no longer there." for label in ("stable", "canary")]


def test_a_release_from_the_list_to_the_prune(models):
    def release(*arguments):
        answer = run_cli("release", *arguments, cwd=models.parent)
        return answer.returncode, answer.stdout.strip(), answer.stderr.strip()

    assert release("promote", "patterns", "1", "--dry-run") == (0, "would be stable: 1 (new)", "")
    assert release("promote", "patterns", "1") == (0, "stable: 1 (new)", "")
    code, _, error = release("promote", "patterns", "2")
    assert code == 1
    assert "2 is not as it was exported" in error
    assert release("promote", "patterns", "2", "--force") == (0, "stable: 2 (was 1)", "")
    assert release("rollback", "patterns") == (0, "stable: 1 (was 2)", "")
    code, table, _ = release("list", "patterns")
    assert code == 0
    assert columns(table, "version", "labels", "served", "form") == [
        ["1", "stable", "yes", "float32"],
        ["2", "", "yes", "float32"],
    ]
    assert release("prune", "patterns", "--keep", "1") == (0, "", "Nothing to remove.")
    assert release("promote", "nothing", "1")[0] == 2
    assert "A model's name" in release("list", "../models/patterns")[2]
