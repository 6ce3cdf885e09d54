"""What happens on the disk while a server serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support import until

from serving.client import PredictClient
from serving.errors import NotFound
from serving.server import process

FAST = ["--file_system_poll_wait_seconds=0.1"]
X = {"x": np.array([1, 2], np.float32)}


@pytest.fixture
def served(models):
    with process.running([str(models), *FAST]) as server, PredictClient(server.grpc_address, "first") as client:
        yield client


def doubled(client):
    return client.predict(X)["y"].tolist() == [2, 4]


def states(client):
    return {entry.version: entry.state for entry in client.status()}


def test_a_deleted_version_answers_until_it_is_unloaded_and_never_wrong(models, served):
    shutil.rmtree(models / "first" / "1")
    with pytest.raises(NotFound, match=r"Latest\(first\)"):
        while True:
            assert doubled(served)
    until(lambda: states(served) == {1: "END"})
    with_files_back = shutil.copytree(models / "second" / "1", models / "aside")
    with_files_back.rename(models / "first" / "2")
    until(lambda: states(served).get(2) == "AVAILABLE")
    assert doubled(served)


def test_a_deleted_base_path_does_not_touch_other_models(models, served):
    shutil.rmtree(models / "second")
    shutil.copytree(models / "first" / "1", models / "aside").rename(models / "first" / "2")
    until(lambda: states(served).get(2) == "AVAILABLE")
    assert doubled(served)


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "noise"])
def test_damaged_variables_leave_the_old_version_serving(models, served, damage):
    aside = shutil.copytree(models / "first" / "1", models / "aside")
    (file,) = (aside / "variables").glob("*.data-*")
    good = file.read_bytes()
    noise = bytes(byte ^ 0x55 for byte in good)
    file.write_bytes({"cut": good[: len(good) // 2], "zeros": bytes(len(good)), "empty": b"", "noise": noise}[damage])
    aside.rename(models / "first" / "2")
    until(lambda: states(served).get(2) == "END" or served.predict(X).version == 2)
    assert states(served) == {2: "END", 1: "AVAILABLE"}
    assert doubled(served)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk")
def test_a_version_cut_short_by_a_full_disk_is_not_served(models, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(file.stat().st_size for file in (models / "first").rglob("*") if file.is_file())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size + size // 2}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        shutil.copytree(models / "first", disk / "first")
        environment = ["--model_name=first", f"--model_base_path={disk / 'first'}"]
        with process.running([*environment, *FAST]) as server, PredictClient(server.grpc_address, "first") as client:
            with pytest.raises(shutil.Error, match="No space left"):
                shutil.copytree(disk / "first" / "1", disk / "first" / "2")
            assert all(doubled(client) for _ in range(100))
            assert states(client).get(2) != "AVAILABLE"
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
