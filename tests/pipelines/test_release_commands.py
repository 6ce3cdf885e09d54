"""`cnn-tf verify` as a user meets it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from support import run_cli

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
    damaged = run_cli("verify", "models/patterns", cwd=models.parent)
    assert damaged.returncode == 1
    [line] = damaged.stdout.splitlines()
    assert line.startswith(f"models/patterns/2: {DATA} has SHA-256 ")


def test_the_server_refuses_a_version_that_fails(models):
    command = [sys.executable, "-m", "serving.server", "--check", models]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert answer.returncode == 1
    assert f"{DATA} has SHA-256" in " ".join((answer.stdout + answer.stderr).split())


@pytest.mark.parametrize("path", ["nowhere", "models", "models/models.config"])
def test_verify_wants_a_version_or_a_model(models, path):
    (models / "models.config").touch()
    answer = run_cli("verify", path, cwd=models.parent)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "Expected a version such as models/NAME/3" in answer.stderr
