"""The server under attack: its addresses and process, what was found, and the good client beside."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import psutil

from serving.client import PredictClient
from serving.server.process import RunningServer

# What a client may be told in consequence of what it sent. UNKNOWN and INTERNAL are the server's own faults.
ALLOWED_GRPC = frozenset(grpc.StatusCode) - {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DATA_LOSS,
}
ALLOWED_HTTP = frozenset({200, 400, 401, 403, 404, 408, 411, 413, 414, 415, 429, 431, 499, 501, 503, 504, 505})


@dataclass(frozen=True)
class Finding:
    """Something that must not be: what, and the request that causes it, shortened."""

    attack: str
    what: str
    request: str = ""

    def __str__(self) -> str:
        return f"{self.attack}: {self.what}" + (f"\n    {self.request}" if self.request else "")


@dataclass
class Victim:
    """A server that serves `model`, whose input `images` takes float32 or uint8 pictures of `shape`."""

    server: RunningServer
    model: str
    pictures: np.ndarray
    requests: int
    """How many requests a fuzzing attack sends."""
    statuses: Counter[str] = field(default_factory=Counter)
    """What the server has answered, over all attacks."""

    @property
    def rest_address(self) -> str:
        """host:port."""
        return self.server.rest_url.removeprefix("http://").partition("/")[0]

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The same for sockets."""
        host, _, port = self.rest_address.rpartition(":")
        return host, int(port)

    @property
    def grpc_host_and_port(self) -> tuple[str, int]:
        host, _, port = self.server.grpc_address.rpartition(":")
        return host, int(port)

    def rss(self) -> float:
        """MiB."""
        return psutil.Process(self.server.process.pid).memory_info().rss / 2**20

    def is_alive(self) -> bool:
        return self.server.process.poll() is None


class Watch:
    """The good client: over gRPC and REST in turn; notes wrong, late and missing answers, and the largest RSS."""

    def __init__(self, victim: Victim, patience: float) -> None:
        self._victim = victim
        self._patience = patience
        self._stop = threading.Event()
        self._expected: np.ndarray | None = None
        self.answers = 0
        self.slowest = 0.0
        self.peak = 0.0
        self.faults: list[str] = []

    def run(self) -> None:
        with PredictClient(self._victim.server.grpc_address, self._victim.model, timeout=self._patience) as client:
            while not self._stop.wait(0.05):
                for ask in (lambda: self._grpc(client), self._rest):
                    begin = time.monotonic()
                    try:
                        ask()
                    except Exception as error:
                        self.faults.append(f"good client, {type(error).__name__}: {str(error)[:200]}")
                    self.answers += 1
                    self.slowest = max(self.slowest, time.monotonic() - begin)
                if not self._victim.is_alive():
                    self.faults.append(f"the server ended with {self._victim.server.process.returncode}")
                    return
                self.peak = max(self.peak, self._victim.rss())

    def stop(self) -> None:
        self._stop.set()

    def _grpc(self, client: PredictClient) -> None:
        answer = client.predict({"images": self._victim.pictures})
        self._compare(np.asarray(answer["probabilities"]))

    def _rest(self) -> None:
        import json

        connection = http.client.HTTPConnection(self._victim.rest_address, timeout=self._patience)
        try:
            body = json.dumps({"instances": self._victim.pictures.tolist()})
            connection.request("POST", f"/v1/models/{self._victim.model}:predict", body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ConnectionError(f"REST {response.status}: {content[:200]!r}")
        rows = json.loads(content)["predictions"]
        self._compare(np.array([row["probabilities"] if isinstance(row, dict) else row for row in rows]))

    def _compare(self, answer: np.ndarray) -> None:
        if self._expected is None:
            self._expected = answer
        if answer.shape != self._expected.shape or np.abs(answer - self._expected).max() > 1e-4:
            raise ValueError(f"wrong answer {answer}, expected {self._expected}")


@contextmanager
def watched(victim: Victim, patience: float) -> Iterator[Watch]:
    """Runs a good client for the time of the block, and for a last answer after it."""
    watch = Watch(victim, patience)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
        asked = watch.answers
        end = time.monotonic() + patience * 3
        while watch.answers < asked + 2 and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        watch.stop()
        thread.join()


def server_log(folder: Path) -> str:
    """What the server has written below `folder`, if anything."""
    return "".join(file.read_text(errors="replace") for file in sorted(folder.glob("*.log")))
