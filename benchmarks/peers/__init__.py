"""Other ways to serve a SavedModel from Python, each in a virtual environment of its own.

python -m benchmarks.peers --peers-dir FOLDER     installs those that are not there yet (needs uv)
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks import serving_models
from benchmarks.peers import kserve
from benchmarks.serving_models import Request

TENSORFLOW = "tensorflow>=2.20,<2.22"
SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Peer:
    """A server by another hand: what to install, and the request that it takes. Its script is scripts/serve_NAME.py."""

    name: str
    packages: tuple[str, ...]
    request: Callable[[str], Request]
    version: str = "3.11"  # of Python

    def python(self, folder: Path) -> Path:
        return folder / self.name / "bin" / "python"

    def start(self, folder: Path, version: Path, port: int, log: IO[str]) -> subprocess.Popen[str]:
        """Serves the SavedModel in `version` at 127.0.0.1:port, in a process group of its own.

        Raises RuntimeError if it is not installed.
        """
        if not self.python(folder).exists():
            raise RuntimeError(f"{self.name} is not installed: python -m benchmarks.peers")
        command = [str(self.python(folder)), str(SCRIPTS / f"serve_{self.name}.py")]
        environment = {**os.environ, "PEER_VERSION": str(version), "PEER_PORT": str(port)}
        environment.pop("PYTHONPATH", None)
        return subprocess.Popen(
            command, stdout=log, stderr=log, text=True, env=environment, cwd=SCRIPTS, start_new_session=True
        )


def _mosec(name: str) -> Request:
    return serving_models.raw_request(name, "/inference")


def _litserve(name: str) -> Request:
    """LitServe takes JSON or forms."""
    body = json.dumps({"picture": base64.b64encode(serving_models.picture(name).tobytes()).decode()}).encode()
    return dataclasses.replace(
        serving_models.raw_request(name), body=body, headers={"content-type": "application/json"}
    )


def _bentoml(name: str) -> Request:
    """JSON with a list that BentoML joins to batches."""
    body = json.dumps({"pictures": [base64.b64encode(serving_models.picture(name).tobytes()).decode()]}).encode()
    return Request("/predict", {"content-type": "application/json"}, body, _read_bentoml)


def _read_bentoml(body: bytes) -> object:
    return np.frombuffer(base64.b64decode(json.loads(body)[0]), np.float32)


PEERS = (
    Peer("naive_grpc", ("tensorflow-serving-api>=2.19,<2.22",), serving_models.grpc_request),
    Peer("mosec", ("mosec",), _mosec),
    Peer("fastapi_raw", ("fastapi", "uvicorn", "uvloop", "httptools"), serving_models.raw_request),
    Peer("litserve", ("litserve",), _litserve),
    Peer("bentoml", ("bentoml",), _bentoml),
    # Its backend's interpreters are older than the standard libraries of today's 3.11 and 3.12.
    Peer("pytriton", ("nvidia-pytriton",), kserve.request, version="3.10"),
    Peer("mlserver", ("mlserver",), kserve.request),
    Peer("ray_serve", ("ray[serve]",), serving_models.raw_request),
)


def install(folder: Path) -> dict[str, str]:
    """Installs what is not there yet; peer -> why it could not be installed."""
    refused = {}
    for peer in PEERS:
        python = str(peer.python(folder))
        steps = [["uv", "pip", "install", "--quiet", "--python", python, TENSORFLOW, *peer.packages]]
        if not peer.python(folder).exists():
            steps.insert(0, ["uv", "venv", "--quiet", f"--python={peer.version}", str(folder / peer.name)])
        for step in steps:
            result = subprocess.run(step, capture_output=True, text=True)
            if result.returncode:
                refused[peer.name] = result.stderr.strip()
                break
    return refused
