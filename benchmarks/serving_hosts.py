"""Starts what is measured: our server in several forms, the peers, and the bare process that is the limit."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from benchmarks import serving_models
from benchmarks.load import TOLERANCE, Target
from benchmarks.peers import Peer
from serving.server import process

START_SECONDS = 120.0
BFLOAT16_TOLERANCE = 0.1


@contextmanager
def ours(
    models: Path,
    name: str,
    expected: np.ndarray,
    flags: Sequence[str],
    *,
    rest: bool = False,
    environment: Path | None = None,
) -> Iterator[Target]:
    """Our server with one model, and `flags` beside; as it is installed in a virtual `environment`, or in this one."""
    if environment and "PYTHONPATH" in os.environ:
        raise SystemExit(f"PYTHONPATH would hide what is installed in {environment}: unset it")
    arguments = [f"--model_name={name}", f"--model_base_path={models.absolute() / name}", *flags]
    program = (
        [str(environment / "bin" / "cnn-tf"), "serve"] if environment else [sys.executable, "-m", "serving.server"]
    )
    with process.running(arguments, program) as server:
        request = serving_models.rest_request(name) if rest else serving_models.grpc_request(name)
        address = server.rest_url.removeprefix("http://").partition("/")[0] if rest else server.grpc_address
        tolerance = BFLOAT16_TOLERANCE if "--mixed_precision=bfloat16" in flags else TOLERANCE
        target = Target(address, request, server.process.pid, expected, tolerance)
        _wait(target, server.process)
        yield target


@contextmanager
def peer(peer: Peer, folder: Path, models: Path, name: str, expected: np.ndarray) -> Iterator[Target]:
    """A peer with one model. Raises RuntimeError with its last words if it does not start."""
    port = _free_port()
    with tempfile.TemporaryFile("w+") as log:
        started = peer.start(folder, models.absolute() / name / "1", port, log)
        try:
            target = Target(f"127.0.0.1:{port}", peer.request(name), started.pid, expected)
            try:
                _wait(target, started)
            except RuntimeError as error:
                log.seek(0)
                raise RuntimeError(f"{peer.name}: {error}\n{log.read()[-2000:]}") from None
            yield target
        finally:
            _end(started)


def _wait(target: Target, started: subprocess.Popen[str]) -> None:
    """Until it answers, and answers right."""
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(grpc.RpcError, OSError, http.client.HTTPException):
            if not target.is_right():
                raise RuntimeError("its answer is not the model's")
            return
        if started.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"it does not answer (exit code {started.poll()})")
        time.sleep(0.05)


def _end(started: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(10)
            if number == signal.SIGTERM:
                time.sleep(0.5)  # its children, which the next signal ends


def _free_port() -> int:
    """A port with two free ones above it, which some peers take for HTTP and metrics."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = int(first.getsockname()[1])
            for above in (1, 2):
                stack.enter_context(socket.create_server(("127.0.0.1", port + above)))
            return port
