"""Loads a server with one request again and again, from h2load (Debian: nghttp2-client), and watches what that costs it.

The generator is written in C, so that on two cores the servers are what is measured. It counts HTTP statuses; whether the
answers are right is seen by a client beside it, which asks a few times a second.
"""

from __future__ import annotations

import http.client
import math
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks.serving_models import Request

TOLERANCE = 1e-3
SAMPLE_SECONDS = 0.2
# Requests a second of one generator, beyond which it cannot keep its times.
RATE_OF_ONE = 300


@dataclass(frozen=True)
class Load:
    """What came of a load: requests/s, times in milliseconds; `cpu` is the server's CPU time a request; `rss` in MiB."""

    rate: float
    p50: float
    p99: float
    cpu: float
    rss: float
    failed: int
    wrong: int


def require_generator() -> None:
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is needed. Install it with: apt-get install nghttp2-client")


class Target:
    """A running server: where it is, the request for it, its process, and what it should answer."""

    def __init__(self, address: str, request: Request, pid: int, expected: np.ndarray) -> None:
        self.address = address
        self.request = request
        self.pid = pid
        self._process = psutil.Process(pid)
        self._expected = expected

    def ask(self, timeout: float = 10.0) -> Any:
        """One answer, as an array. Raises grpc.RpcError or OSError."""
        return self.request.read((_ask_grpc if self.request.is_grpc else _ask_http)(self, timeout))

    def is_right(self) -> bool:
        answer = np.asarray(self.ask(), np.float32).reshape(-1)
        return answer.shape == self._expected.shape and bool(np.abs(answer - self._expected).max() < TOLERANCE)

    def cpu_seconds(self) -> float:
        """Of the server and its children, so far."""
        times = [process.cpu_times() for process in self._tree()]
        return sum(time.user + time.system for time in times)

    def rss(self) -> float:
        """MiB, of the server and its children."""
        return sum(process.memory_info().rss for process in self._tree()) / 2**20

    def _tree(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def closed(target: Target, callers: int, seconds: float, connections: int = 0) -> Load:
    """`callers`, each of whom asks again as soon as there is an answer; on so many connections together, or one each (0)."""
    connections = connections or callers
    shape = ["-c", str(connections), "-m", str(callers // connections)]
    return _run(target, [*shape, "-D", f"{max(round(seconds), 1)}"])


def open_loop(target: Target, rate: float, seconds: float) -> Load:
    """Requests at random times, `rate` a second on average, whether or not earlier ones are answered (gRPC only).

    One generator looks at its clock once a millisecond and sends one request then; so there are as many as the rate needs.
    """
    number = math.ceil(rate / RATE_OF_ONE)
    with tempfile.TemporaryDirectory() as folder:
        scripts = [Path(folder, f"{seed}.tsv") for seed in range(number)]
        for seed, script in enumerate(scripts):
            url = f"http://{target.address}{target.request.path}"
            script.write_text("".join(f"{clock:.3f}\t{url}\n" for clock in _times(rate / number, seconds, seed)))
        return _run(target, *(["-c", "1", "-m", "100", f"--timing-script-file={script}"] for script in scripts))


def _times(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Milliseconds of the events of a Poisson process."""
    draw = random.Random(seed)
    clock = draw.expovariate(rate)
    while clock < seconds:
        yield clock * 1000
        clock += draw.expovariate(rate)


def _run(target: Target, *generators: Sequence[str]) -> Load:
    """The load of all generators together."""
    with tempfile.TemporaryDirectory() as folder, _sampling(target) as wrong:
        body = Path(folder, "body")
        body.write_bytes(target.request.body)
        logs = [Path(folder, f"log{number}") for number in range(len(generators))]
        before = target.cpu_seconds()
        running = [
            subprocess.Popen(_command(target, arguments, body, log), stdout=subprocess.DEVNULL)
            for arguments, log in zip(generators, logs, strict=True)
        ]
        for process in running:
            if process.wait():
                raise RuntimeError(f"h2load ended with {process.returncode}")
        cpu = target.cpu_seconds() - before
        rss = target.rss()
        rows = [line.split("\t") for log in logs for line in log.read_text().splitlines()]
    # Start in microseconds, status, duration in microseconds.
    times = [int(row[2]) / 1000 for row in rows if row[1] == "200"] or [float("nan")]
    starts = [int(row[0]) for row in rows] or [0]
    return Load(
        rate=len(times) / max(max(starts) - min(starts), 1) * 1e6,
        p50=statistics.median(times),
        p99=float(np.percentile(times, 99)),
        cpu=cpu / len(times) * 1000,
        rss=rss,
        failed=len(rows) - len(times),
        wrong=wrong[0],
    )


def _command(target: Target, arguments: Sequence[str], body: Path, log: Path) -> list[str]:
    headers = [f"--header={name}: {value}" for name, value in target.request.headers.items()]
    protocol = [] if target.request.is_grpc else ["--h1"]
    url = f"http://{target.address}{target.request.path}"
    return ["h2load", *arguments, f"--data={body}", f"--log-file={log}", *headers, *protocol, url]


@contextmanager
def _sampling(target: Target) -> Iterator[list[int]]:
    """Asks a few times a second for the time of the block; yields a list whose item is the number of wrong answers."""
    wrong, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            try:
                wrong[0] += not target.is_right()
            except (grpc.RpcError, OSError, http.client.HTTPException):
                wrong[0] += 1

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def _ask_grpc(target: Target, timeout: float) -> bytes:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target.address, options) as channel:
        return bytes(channel.unary_unary(target.request.path)(target.request.body[5:], timeout=timeout))


def _ask_http(target: Target, timeout: float) -> bytes:
    connection = http.client.HTTPConnection(target.address, timeout=timeout)
    try:
        connection.request("POST", target.request.path, target.request.body, target.request.headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise ConnectionError(f"{response.status}: {body[:200]!r}")
    return body
