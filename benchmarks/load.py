"""Loads a server with one request again and again, and watches what that costs it.

Callers who wait for their answers are h2load's (Debian: nghttp2-client), which is written in C, so that on two cores the
servers are what is measured. It counts HTTP statuses; whether the answers are right is seen by a client beside it, which asks
seldom enough that what it costs does not count. For requests at given times see `open_loop`.
"""

from __future__ import annotations

import http.client
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks.serving_models import Request

# Of probabilities; that of sums of bfloat16 is another.
TOLERANCE = 1e-3
SAMPLE_SECONDS = 2.0
TIMEOUT = 10.0
WARM_SECONDS = 0.5


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
    """A running server: where it is, the request for it, its process, and what it should answer, within `tolerance`."""

    def __init__(
        self, address: str, request: Request, pid: int, expected: np.ndarray, tolerance: float = TOLERANCE
    ) -> None:
        self.address = address
        self.request = request
        self.pid = pid
        self._process = psutil.Process(pid)
        self._expected = expected
        self._tolerance = tolerance

    @contextmanager
    def asking(self) -> Iterator[Callable[[], bool]]:
        """Gives a function that asks once on the block's connection, and tells whether the answer is right.

        It raises grpc.RpcError or OSError.
        """
        with (_over_grpc if self.request.is_grpc else _over_http)(self) as ask:
            yield lambda: self._is_right(self.request.read(ask()))

    def is_right(self) -> bool:
        """Asks once. Raises grpc.RpcError or OSError."""
        with self.asking() as ask:
            return ask()

    def _is_right(self, answer: Any) -> bool:
        answer = np.asarray(answer, np.float32).reshape(-1)
        return answer.shape == self._expected.shape and bool(np.abs(answer - self._expected).max() < self._tolerance)

    def cpu_seconds(self) -> float:
        """Of the server and its children, so far."""
        times = [process.cpu_times() for process in self._tree()]
        return sum(time.user + time.system for time in times)

    def rss(self) -> float:
        """MiB, of the server and its children."""
        return sum(process.memory_info().rss for process in self._tree()) / 2**20

    def _tree(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def closed(target: Target, callers: int, seconds: float, connections: int = 0, *, rate: float = math.inf) -> Load:
    """`callers`, each of whom asks again as soon as there is an answer; on so many connections together, or one each (0).

    rate: requests a second of all together, at most; they pause for it, all at the same times.
    """
    connections = connections or callers
    shape = ["-c", str(connections), "-m", str(callers // connections), "-D", f"{max(round(seconds), 1)}"]
    if rate < math.inf:
        shape.append(f"--rps={rate / connections:.3f}")
    with _watching(target) as watch, tempfile.NamedTemporaryFile("r") as log:
        subprocess.run(_command(target, shape, watch.body, log.name), stdout=subprocess.DEVNULL, check=True)
        rows = [line.split("\t") for line in log]
    # Start in microseconds, status, duration in microseconds.
    times = [int(row[2]) / 1000 for row in rows if row[1] == "200"]
    starts = [int(row[0]) for row in rows] or [0]
    return watch.load(times, len(rows) - len(times), max(max(starts) - min(starts), 1) / 1e6)


def open_loop(target: Target, kind: str, rate: float, seconds: float) -> Load:
    """Requests at "even" or "random" times, `rate` a second, whether or not earlier ones are answered (gRPC only).

    Latencies count from the time at which a request is due. The first WARM_SECONDS come before `seconds`: at 8,600 requests a
    second, what happens in the first moments of a connection alone would be a hundredth of 3 s.
    """
    with _watching(target) as watch:
        arguments = [target.address, target.request.path, watch.body, kind, str(rate), str(WARM_SECONDS + seconds)]
        generator = [sys.executable, "-m", "benchmarks.open_loop", *arguments]
        told = subprocess.run(generator, stdout=subprocess.PIPE, text=True, check=True).stdout
    answers = [(float(due), float(time)) for due, time in map(str.split, told.splitlines())]
    watch.cpu *= seconds / (WARM_SECONDS + seconds)
    warm = [time for due, time in answers if due >= WARM_SECONDS]
    times = [time for time in warm if not math.isnan(time)]
    return watch.load(times, len(warm) - len(times), seconds)


@dataclass
class _Watch:
    """What a load costs the server, and whether it still answers right."""

    body: str
    """The file with the request."""
    cpu: float = 0.0
    rss: float = 0.0
    wrong: int = 0

    def load(self, times: Sequence[float], failed: int, seconds: float) -> Load:
        """Of the times of the good answers, in milliseconds, that came within `seconds`."""
        times = times or [math.nan]
        return Load(
            rate=len(times) / seconds,
            p50=statistics.median(times),
            p99=float(np.percentile(times, 99)),
            cpu=self.cpu / len(times) * 1000,
            rss=self.rss,
            failed=failed,
            wrong=self.wrong,
        )


@contextmanager
def _watching(target: Target) -> Iterator[_Watch]:
    with tempfile.NamedTemporaryFile() as body, _sampling(target) as wrong:
        body.write(target.request.body)
        body.flush()
        watch = _Watch(body.name, cpu=-target.cpu_seconds())
        yield watch
        watch.cpu += target.cpu_seconds()
        watch.rss = target.rss()
    watch.wrong = wrong[0]


def _command(target: Target, arguments: Sequence[str], body: str, log: str) -> list[str]:
    headers = [f"--header={name}: {value}" for name, value in target.request.headers.items()]
    protocol = [] if target.request.is_grpc else ["--h1"]
    url = f"http://{target.address}{target.request.path}"
    return ["h2load", *arguments, f"--data={body}", f"--log-file={log}", *headers, *protocol, url]


@contextmanager
def _sampling(target: Target) -> Iterator[list[int]]:
    """Asks each SAMPLE_SECONDS for the time of the block; yields a list whose item is the number of wrong answers."""
    wrong, stop = [0], threading.Event()

    def sample() -> None:
        with target.asking() as is_right:
            while not stop.wait(SAMPLE_SECONDS):
                try:
                    wrong[0] += not is_right()
                except (grpc.RpcError, OSError, http.client.HTTPException):
                    wrong[0] += 1

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


@contextmanager
def _over_grpc(target: Target) -> Iterator[Callable[[], bytes]]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target.address, options) as channel:
        call = channel.unary_unary(target.request.path)
        yield lambda: bytes(call(target.request.body[5:], timeout=TIMEOUT))


@contextmanager
def _over_http(target: Target) -> Iterator[Callable[[], bytes]]:
    connection = http.client.HTTPConnection(target.address, timeout=TIMEOUT)

    def ask() -> bytes:
        try:
            connection.request("POST", target.request.path, target.request.body, target.request.headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next one makes another
            raise
        if response.status != 200:
            raise ConnectionError(f"{response.status}: {body[:200]!r}")
        return body

    with closing(connection):
        yield ask
