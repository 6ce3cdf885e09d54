"""A server in a process of its own, for demos and tests: starts it, waits until it is ready, stops it cleanly."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from serving.errors import Unavailable

_READY = re.compile(r"Ready\. gRPC: (\S+)  REST: (\S+)")

# Seconds that a server may take to stop before it is killed.
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class RunningServer:
    """Where a server answers: "host:port" for gRPC, the URL up to the model's name for REST; "off" if it does not."""

    grpc_address: str
    rest_url: str
    process: subprocess.Popen[str]


@contextmanager
def running(
    arguments: Sequence[str], program: Sequence[str] = (sys.executable, "-m", "serving.server")
) -> Iterator[RunningServer]:
    """A ready server for the time of the block; ports are free ones unless `arguments` say otherwise.

    Raises Unavailable, with the server's last words, if it does not start.
    """
    command = [*program, "--port=auto", "--rest_api_port=auto", *arguments]
    with tempfile.TemporaryFile("w+") as log:
        # A session of its own: Ctrl-C is for the caller, who then stops the server in order.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        try:
            yield _wait_until_ready(process, log)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[str], log: IO[str]) -> RunningServer:
    for line in process.stdout or ():
        if match := _READY.match(line):
            return RunningServer(match[1], match[2], process)
    process.wait()
    log.seek(0)
    words = log.read().strip().splitlines() or ["it said nothing"]
    raise Unavailable(f"The server did not start (exit code {process.returncode}): {words[-1]}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
