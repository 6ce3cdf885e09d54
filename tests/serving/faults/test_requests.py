"""Signatures that raise or take long, beside others that do not."""

from __future__ import annotations

import shutil
import threading
import time

import numpy as np
import pytest
from support import until

from serving.client import PredictClient
from serving.errors import DeadlineExceeded, InvalidArgument
from serving.server import process

X = {"x": np.array([1, 2], np.float32)}


@pytest.fixture(scope="module")
def server(doubling, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("first", "second"):
        shutil.copytree(doubling, folder / name / "1")
    with process.running([str(folder), "--enable_batching"]) as running:
        yield running


def test_a_signature_that_raises_fails_its_own_request_alone(server):
    outcomes = {"right": 0, "refused": 0}

    def ask(signature):
        with PredictClient(server.grpc_address, "first") as client:
            for _ in range(30):
                try:
                    good = X if signature == "" else {"x": -X["x"]}
                    bad = signature == "failing" and outcomes["refused"] <= outcomes["right"]
                    answer = client.predict(X if bad else good, signature=signature)["y"]
                    outcomes["right"] += answer.tolist() in ([2, 4], [-1, -2])
                except InvalidArgument as error:
                    outcomes["refused"] += "only negative numbers" in str(error)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("", "failing", "failing", "")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcomes.values()) == 120
    assert outcomes["refused"] > 0


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_long_op_holds_up_nobody(server, name):
    """Requests to the same model and to another are answered while it runs."""
    done = threading.Event()

    def ask_slowly():
        with PredictClient(server.grpc_address, "first", timeout=60) as client:
            client.predict(X, signature="slow")
        done.set()

    thread = threading.Thread(target=ask_slowly)
    with PredictClient(server.grpc_address, name) as client:
        client.predict(X)
        thread.start()
        answered = []
        while not done.is_set():
            begin = time.monotonic()
            assert client.predict(X)["y"].tolist() == [2, 4]
            if not done.is_set():
                answered.append(time.monotonic() - begin)
    thread.join()
    assert len(answered) > 20
    assert max(answered) < 2


def test_more_long_ops_than_slots_end_at_their_deadlines(server):
    outcomes = []

    def ask_slowly():
        with PredictClient(server.grpc_address, "second") as client:
            begin = time.monotonic()
            try:
                client.predict(X, signature="slow", timeout=1)
            except DeadlineExceeded:
                outcomes.append(time.monotonic() - begin)

    threads = [threading.Thread(target=ask_slowly) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert max(outcomes) < 3
    with PredictClient(server.grpc_address, "second", timeout=60) as client:
        until(lambda: client.predict(X)["y"].tolist() == [2, 4])


def test_a_run_that_nobody_waits_for_any_more_is_ended(endless, tmp_path):
    shutil.copytree(endless, tmp_path / "models" / "endless" / "1")
    with process.running([str(tmp_path / "models"), "--drain_seconds=60"]) as server:
        with PredictClient(server.grpc_address, "endless") as client:
            for _ in range(3):
                with pytest.raises(DeadlineExceeded):
                    client.predict(X, timeout=0.5)
            assert client.predict({"x": -X["x"]})["y"].tolist() == [-1, -2]
        server.process.terminate()
        assert server.process.wait(timeout=30) == 0
