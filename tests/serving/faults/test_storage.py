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


DAMAGES = ["cut", "zeros", "empty", "noise"]


@pytest.fixture(scope="module")
def shared(doubling, tmp_path_factory):
    """A folder of models, one for each thing that happens to one, and the address of their server."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("version_deleted", "all_deleted", "untouched", *DAMAGES):
        shutil.copytree(doubling, folder / name / "1")
    with process.running([str(folder), *FAST]) as server:
        yield folder, server.grpc_address


def doubled(client):
    return client.predict(X)["y"].tolist() == [2, 4]


def states(client):
    return {entry.version: entry.state for entry in client.status()}


def add(version, source):
    """A version that is complete at once."""
    shutil.copytree(source, version.parent.parent / "aside").rename(version)


def test_a_deleted_version_answers_until_it_is_unloaded_and_never_wrong(shared, doubling):
    folder, address = shared
    model = folder / "version_deleted"
    with PredictClient(address, model.name) as client:
        shutil.rmtree(model / "1")
        with pytest.raises(NotFound, match=r"Latest\(version_deleted\)"):
            while True:
                assert doubled(client)
        until(lambda: states(client) == {1: "END"})
        add(model / "2", doubling)
        until(lambda: states(client).get(2) == "AVAILABLE")
        assert doubled(client)


def test_a_deleted_base_path_does_not_touch_other_models(shared, doubling):
    folder, address = shared
    shutil.rmtree(folder / "all_deleted")
    with PredictClient(address, "untouched") as client:
        add(folder / "untouched" / "2", doubling)
        until(lambda: states(client).get(2) == "AVAILABLE")
        assert doubled(client)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_variables_leave_the_old_version_serving(shared, doubling, damage):
    folder, address = shared
    aside = shutil.copytree(doubling, folder / "aside")
    (file,) = (aside / "variables").glob("*.data-*")
    good = file.read_bytes()
    noise = bytes(byte ^ 0x55 for byte in good)
    file.write_bytes({"cut": good[: len(good) // 2], "zeros": bytes(len(good)), "empty": b"", "noise": noise}[damage])
    aside.rename(folder / damage / "2")
    with PredictClient(address, damage) as client:
        until(lambda: states(client).get(2) == "END" or client.predict(X).version == 2)
        assert states(client) == {2: "END", 1: "AVAILABLE"}
        assert doubled(client)


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
        flags = ["--model_name=first", f"--model_base_path={disk / 'first'}"]
        with process.running([*flags, *FAST]) as server, PredictClient(server.grpc_address, "first") as client:
            with pytest.raises(shutil.Error, match="No space left"):
                shutil.copytree(disk / "first" / "1", disk / "first" / "2")
            assert all(doubled(client) for _ in range(100))
            assert states(client).get(2) != "AVAILABLE"
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
