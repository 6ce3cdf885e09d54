"""Who may import whom (design.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_import_rules():
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


LIGHT = ["serving.client", "serving.wire", "pipelines.commands", "pipelines.data_service", "pipelines.sources"]
LIGHT += ["cnn_tf.cli", "cnn_tf.shapes", "cnn_tf.description", "cnn_tf.scratch", "cnn_tf.promises"]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_neither_tensorflow_nor_keras(module):
    code = f"import sys, {module}; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("proto", sorted((ROOT / "serving").rglob("*.proto")), ids=lambda path: path.name)
def test_generated_messages_are_those_of_the_proto_file(proto, tmp_path):
    source = proto.relative_to(ROOT)
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I",
        ".",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    subprocess.run([*command, source], cwd=ROOT, check=True)
    for suffix in ("_pb2.py", "_pb2.pyi"):
        name = source.with_name(source.stem + suffix)
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), "run: make proto"


def test_requirements_are_hashed_and_name_no_registry():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    requirements = [name for name in listed if name.startswith("requirements/") and name.endswith(".txt")]
    assert requirements
    for name in requirements:
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text
