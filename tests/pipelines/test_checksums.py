"""The manifest of a version, and what it finds."""

from __future__ import annotations

import json
import shutil

import pytest

from pipelines import checksums
from serving.errors import DataLoss
from serving.server import completeness

DATA = "variables/variables.data-00000-of-00001"
MANIFEST = "assets.extra/manifest.json"


@pytest.fixture
def version(workplace, tmp_path):
    """A copy of an exported version."""
    return shutil.copytree(workplace / "models" / "patterns" / "1", tmp_path / "1")


def test_an_export_has_a_manifest_of_all_its_files(version):
    files = json.loads((version / MANIFEST).read_text())["files"]
    there = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    assert set(files) == there - {MANIFEST}
    assert {"saved_model.pb", DATA, "assets.extra/tf_serving_warmup_requests"} < there
    assert checksums.findings(version) == []
    completeness.check(version)


def test_every_difference_is_found(version):
    content = bytearray((version / DATA).read_bytes())
    content[5] ^= 1
    (version / DATA).write_bytes(content)
    (version / "variables" / "variables.index").unlink()
    (version / "saved_model.pb").write_bytes(b"123")
    (version / "more.txt").touch()
    extra, graph, data, index = checksums.findings(version)
    assert extra == "more.txt is not in the manifest"
    assert graph.startswith("saved_model.pb has 3 bytes instead of ")
    assert data.startswith(f"{DATA} has SHA-256 ")
    assert index == "variables/variables.index is missing"


def test_the_server_refuses_what_the_manifest_does_not_promise(version):
    content = bytearray((version / DATA).read_bytes())
    content[5] ^= 1
    (version / DATA).write_bytes(content)
    with pytest.raises(DataLoss, match=f"{DATA} has SHA-256"):
        completeness.check(version)


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"a": {}}}', "[" * 100_000])
def test_a_broken_manifest_is_a_finding(version, text):
    (version / MANIFEST).write_text(text)
    [finding] = checksums.findings(version)
    assert finding.startswith(f"{MANIFEST} cannot be read")


def test_a_version_without_a_manifest_cannot_be_verified(version):
    (version / MANIFEST).unlink()
    assert checksums.findings(version) == [f"{MANIFEST} is missing: nothing can be verified"]
