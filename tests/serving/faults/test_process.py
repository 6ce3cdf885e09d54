"""The server's process is killed, told to stop, or sees its clock jump, under load."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from contract import predict_request, write_warm_up
from support import until
from tensorflow_serving.apis import prediction_log_pb2

from serving.client import PredictClient
from serving.errors import NotFound, ServingError, Unavailable
from serving.server import process

X = {"x": np.array([1, 2], np.float32)}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_client_that_retries_lives_through_kill_9_and_a_restart(models):
    flags = [str(models), f"--port={free_port()}"]
    answers, errors, stop = Counter(), Counter(), threading.Event()

    def ask_and_ask_again(address):
        with PredictClient(address, "first", timeout=5) as client:
            while not stop.is_set():
                try:
                    answers[tuple(client.predict(X)["y"].tolist())] += 1
                except ServingError as error:
                    errors[type(error).__name__] += 1
                    stop.wait(0.05)

    with process.running(flags) as server:
        threads = [threading.Thread(target=ask_and_ask_again, args=(server.grpc_address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: answers.total() > 50)
        server.process.kill()
        server.process.wait()
    with process.running(flags):
        before = answers.total()
        until(lambda: answers.total() > before + 50)
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answers) == {(2.0, 4.0)}
    assert set(errors) <= {"Unavailable", "DeadlineExceeded"}
    assert errors["Unavailable"]


def test_sigterm_loses_no_rest_request_that_it_has_accepted(models):
    """Clients keep their connections: each request is answered, or its connection was closed before it was sent."""
    outcomes = Counter()

    def ask_without_pause(address):
        body = json.dumps({"instances": [1, 2]})
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.connect()
        while not outcomes["closed"]:
            if select.select([connection.sock], [], [], 0)[0]:
                outcomes["closed"] += 1
                break
            try:
                connection.request("POST", "/v1/models/first:predict", body)
                response = connection.getresponse()
                outcomes[response.status, response.read().count(b".0")] += 1
            except (OSError, http.client.HTTPException):
                outcomes["crossed"] += 1  # it was on its way while the server closed the idle connection
                break
            if response.will_close:
                break
        connection.close()

    with process.running([str(models)]) as server:
        address = server.rest_url.removeprefix("http://").partition("/")[0]
        threads = [threading.Thread(target=ask_without_pause, args=(address,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: outcomes[200, 2] > 100)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        server.process.wait(20)
    assert server.process.returncode == 0
    assert set(outcomes) <= {(200, 2), (503, 0), "closed", "crossed"}
    assert outcomes["crossed"] <= 1


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
def test_a_clock_that_jumps_changes_nothing(models, tmp_path, monkeypatch):
    """The wall clock goes an hour on and a day back while requests with deadlines are served."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    (library,) = process_library()
    monkeypatch.setenv("LD_PRELOAD", library)
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with process.running([str(models), "--file_system_poll_wait_seconds=0.1"]) as server:
        monkeypatch.delenv("LD_PRELOAD")
        with PredictClient(server.grpc_address, "first", timeout=20) as client:
            for jump in ("+3600", "-86400", "+0"):
                aside = clock.with_suffix(".new")
                aside.write_text(jump)
                aside.rename(clock)
                for _ in range(20):
                    assert client.predict(X)["y"].tolist() == [2, 4]
            shutil.copytree(models / "second" / "1", models / "aside").rename(models / "first" / "2")
            until(lambda: client.predict(X).version == 2, timeout=20)


def process_library():
    return [str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")][:1]


def test_a_client_without_a_server_is_told_so():
    with PredictClient(f"127.0.0.1:{free_port()}", "first", timeout=2) as client, pytest.raises(Unavailable):
        client.predict(X)


@pytest.fixture
def loads_for_ever(endless):
    """Makes a version folder whose warm-up request never ends."""

    def make(folder):
        version = shutil.copytree(endless, folder)
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.CopyFrom(predict_request({"x": [2.0]}, name="m"))
        return write_warm_up(version, log.SerializeToString())

    return make


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_stopped_while_it_loads_ends_at_once(loads_for_ever, tmp_path, asked):
    """The socket is there before."""
    loads_for_ever(tmp_path / "m" / "1")
    place = tmp_path / "socket"
    flags = [f"--grpc_socket_path={place}", "--rest_api_port=auto", "--drain_seconds=60", tmp_path]
    command = [sys.executable, "-m", "serving.server", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(place.exists)
        running.send_signal(asked)
        said, told = running.communicate(timeout=30)
    assert running.returncode == 0
    assert said == ""
    assert "Stopped before the models were loaded" in told
    assert "Traceback" not in told


def test_one_that_is_stopped_while_it_imports_tensorflow_ends_at_once(models):
    script = """
import sys, threading
from serving.server import imports, main
imports.tensorflow = lambda: (print("importing", flush=True), threading.Event().wait())
sys.exit(main.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", script, str(models), "--port=auto"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout.readline() == "importing\n"
            running.send_signal(signal.SIGTERM)
            _, told = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 0
    assert "Stopped before the models were loaded" in told


def test_a_rest_request_that_outlasts_the_end_is_told_so(models):
    """It has sent half of its body, which the server has asked for."""
    with process.running([str(models), "--drain_seconds=0"]) as server:
        host, _, port = server.rest_url.removeprefix("http://").partition("/")[0].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as client, client.makefile("rb") as answer:
            head = b"POST /v1/models/first:predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"
            client.sendall(head + b'{"instances"')
            assert answer.readline().startswith(b"HTTP/1.1 100 ")
            server.process.terminate()
            told = answer.read()
        assert server.process.wait(20) == 0  # no request was lost: it was never whole
    assert b"HTTP/1.1 503 " in told
    assert b"content-type: application/json" in told.lower()
    assert json.loads(told.rpartition(b"\r\n\r\n")[2]) == {"error": "The server is stopping"}


def test_a_further_version_that_loads_does_not_hold_up_the_end(endless, loads_for_ever, tmp_path):
    shutil.copytree(endless, tmp_path / "models" / "m" / "1")
    flags = [str(tmp_path / "models"), "--file_system_poll_wait_seconds=0.1", "--drain_seconds=60"]
    with process.running(flags) as server, PredictClient(server.grpc_address, "m", timeout=20) as client:
        loads_for_ever(tmp_path / "aside").rename(tmp_path / "models" / "m" / "2")
        until(lambda: states(client) == ["LOADING", "AVAILABLE"])
        assert client.predict({"x": np.zeros(1, np.float32)})["y"].tolist() == [0]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_nor_does_a_reload_that_waits_for_a_model(endless, loads_for_ever, tmp_path):
    shutil.copytree(endless, tmp_path / "m" / "1")
    loads_for_ever(tmp_path / "n" / "1")
    models = [f'config {{ name: "{n}" base_path: "{tmp_path / n}" model_platform: "tensorflow" }}' for n in "mn"]
    config = f"model_config_list {{ {' '.join(models)} }}"
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--drain_seconds=60"]
    with process.running(flags) as server, PredictClient(server.grpc_address, "n", timeout=60) as client:
        with ThreadPoolExecutor() as thread:
            reloading = thread.submit(client.reload, config)
            until(lambda: states(client) == ["LOADING"])
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ServingError, match="It is being loaded"):
                reloading.result(20)
        assert server.process.wait(20) == 0


def states(client):
    """Of the versions of the client's model; none if the server does not know it yet."""
    with contextlib.suppress(NotFound):
        return [status.state for status in client.status()]
    return []
