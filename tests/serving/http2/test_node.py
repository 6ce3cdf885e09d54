"""The official client for Node: `npm install @grpc/grpc-js` somewhere, with its node_modules in NODE_PATH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from http2_support import running


def test_calls_and_streams_of_grpc_js_work():
    if shutil.which("node") is None:
        pytest.skip("needs node")
    if subprocess.run(["node", "-e", "require.resolve('@grpc/grpc-js')"], capture_output=True).returncode:
        pytest.skip("needs @grpc/grpc-js in NODE_PATH")
    with running() as server:
        script = Path(__file__).with_name("node_client.js")
        done = subprocess.run(["node", script, server.address], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("all fine\n", 0), done.stderr
