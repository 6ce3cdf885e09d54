"""Clients of a soak: they ask at a given pace, compare every answer, and note what failed."""

from __future__ import annotations

import http.client
import json
import time
from abc import ABC, abstractmethod

import numpy as np

from benchmarks.abuse import model
from serving.client import PredictClient
from serving.server.process import RunningServer

TIMEOUT = 30.0


class Asker(ABC):
    """Asks one model for one picture; `times` are seconds, one for each answer."""

    def __init__(self, server: RunningServer, name: str, retries: int) -> None:
        self.server = server
        self.name = name
        self.times: list[float] = []
        self.failures: list[str] = []
        self._retries = retries
        self._expected: np.ndarray | None = None

    def run(self, end: float, pause: float) -> None:
        """Until `end` (time.monotonic), one request every `pause` seconds; what comes late is caught up."""
        due = time.monotonic()
        with self:
            while time.monotonic() < end:
                time.sleep(max(due - time.monotonic(), 0))
                due += pause
                self._once()

    def _once(self) -> None:
        begin = time.monotonic()
        for attempt in range(self._retries + 1):
            try:
                self._compare(self.ask())
                break
            except Exception as error:
                if attempt == self._retries:
                    self.failures.append(f"{type(self).__name__}, {type(error).__name__}: {str(error)[:300]}")
        self.times.append(time.monotonic() - begin)

    def _compare(self, answer: np.ndarray) -> None:
        if self._expected is None:
            self._expected = answer
        if answer.shape != self._expected.shape or np.abs(answer - self._expected).max() > 1e-4:
            raise ValueError(f"wrong answer {answer}")

    @abstractmethod
    def ask(self) -> np.ndarray:
        """One answer."""

    def __enter__(self) -> Asker:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Hangs up."""


class GrpcAsker(Asker):
    """One channel, kept."""

    def __enter__(self) -> Asker:
        self._client = PredictClient(self.server.grpc_address, self.name, timeout=TIMEOUT)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self) -> np.ndarray:
        return np.asarray(self._client.predict({"images": model.pictures()})["probabilities"])


class RestAsker(Asker):
    """One connection, kept alive."""

    def __enter__(self) -> Asker:
        self._body = json.dumps({"instances": model.pictures().tolist()})
        address = self.server.rest_url.removeprefix("http://").partition("/")[0]
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self) -> np.ndarray:
        self._connection.request("POST", f"/v1/models/{self.name}:predict", self._body)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise ConnectionError(f"{response.status}: {content[:200]!r}")
        return np.array([row["probabilities"] for row in json.loads(content)["predictions"]])
