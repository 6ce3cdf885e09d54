"""Versions come and go while a real server runs."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tensorflow as tf
from saved_models import half_plus_two, waiting
from support import until

from pipelines import files
from serving.client import PredictClient
from serving.errors import NotFound, ServingError, Unavailable
from serving.server import process

ONE = {"x": np.ones((1, 1), np.float32)}
FAST = "--file_system_poll_wait_seconds=0.1"


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """The folder of a small version."""
    return half_plus_two(tmp_path_factory.mktemp("version") / "1")


@pytest.fixture(scope="module")
def shared(version, tmp_path_factory):
    """A folder of models, one for each test that needs a running server alone, and the server."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("swapped", "half_written", "damaged", "badly_warmed"):
        shutil.copytree(version, folder / name / "1")
    with process.running([str(folder), FAST]) as server:
        yield folder, server


@pytest.fixture
def models(version, tmp_path):
    """A folder of this test's own with version 1 of the model `half`."""
    shutil.copytree(version, tmp_path / "models" / "half" / "1")
    return tmp_path / "models"


def states(client):
    return {entry.version: entry.state for entry in client.status()}


def test_a_new_version_takes_over_without_a_failed_request(shared):
    folder, server = shared
    answers, failures, stop = [], [], threading.Event()

    def ask_without_pause():
        with PredictClient(server.grpc_address, "swapped") as connection:
            while not stop.is_set():
                try:
                    answers.append(connection.predict(ONE).version)
                except ServingError as error:
                    failures.append(error)

    threads = [threading.Thread(target=ask_without_pause) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(answers) > 50)
    with files.folder_aside(folder / "swapped" / "2") as aside:  # as exports are published
        half_plus_two(aside)
    with PredictClient(server.grpc_address, "swapped") as client:
        until(lambda: states(client) == {2: "AVAILABLE", 1: "END"})
        asked = len(answers)
        until(lambda: len(answers) > asked + 50)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert set(answers) == {1, 2}
        assert set(answers[asked + 3 :]) == {2}  # three answers may have been under way
        with pytest.raises(NotFound, match=r"Specific\(swapped, 1\)"):
            client.predict(ONE, version=1)


def test_half_written_versions_are_not_served(shared, version):
    folder, server = shared
    for number, absent in ((2, "saved_model.pb"), (3, "variables.index"), (4, "variables.data-00000-of-00001")):
        shutil.copytree(version, folder / "half_written" / str(number), ignore=shutil.ignore_patterns(absent))
    with PredictClient(server.grpc_address, "half_written") as client:
        until(lambda: states(client).get(4) == "START")
        assert client.predict(ONE).version == 1
        # What was missing arrives: the version is served.
        data = version / "variables" / "variables.data-00000-of-00001"
        shutil.copy(data, folder / "half_written" / "4" / "variables")
        until(lambda: client.predict(ONE).version == 4)


def test_a_damaged_version_leaves_the_old_one_serving_and_is_tried_again(shared, version):
    folder, server = shared
    good = (version / "saved_model.pb").read_bytes()
    with files.folder_aside(folder / "damaged" / "2") as aside:
        shutil.copytree(version, aside, dirs_exist_ok=True)
        (aside / "saved_model.pb").write_bytes(good[:1000])
    with PredictClient(server.grpc_address, "damaged") as client:
        until(lambda: states(client).get(2) == "END")
        assert client.predict(ONE).version == 1
        assert next(entry for entry in client.status() if entry.version == 2).error
        (folder / "damaged" / "2" / "saved_model.pb").write_bytes(good)
        until(lambda: client.predict(ONE).version == 2)


def test_a_failing_warm_up_fails_the_load(shared, version):
    folder, server = shared
    with files.folder_aside(folder / "badly_warmed" / "2") as aside:
        shutil.copytree(version, aside, dirs_exist_ok=True)
        (aside / "assets.extra").mkdir()
        (aside / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a TFRecord file")
    with PredictClient(server.grpc_address, "badly_warmed") as client:
        until(lambda: states(client).get(2) == "END")
        assert "TFRecord" in client.status()[0].error
        assert client.predict(ONE).version == 1


@pytest.mark.parametrize("port", ["grpc", "rest"])
def test_sigterm_finishes_what_is_under_way_and_takes_nothing_new(tmp_path, port):
    """Over either port, whichever has something to finish."""
    waiting(tmp_path / "models" / "waiting" / "1")
    folder = tmp_path / "told"
    with process.running([str(tmp_path / "models"), "--drain_seconds=100"]) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit({"grpc": over_grpc, "rest": over_rest}[port], server, str(folder))
        try:
            until((folder / "begun").exists)
            server.process.send_signal(signal.SIGTERM)
            for address in (server.grpc_address, rest_address(server)):
                until(lambda address=address: refuses(address))
        finally:
            folder.mkdir(exist_ok=True)
            (folder / "go").touch()
        assert answer.result() == [str(folder)]
        assert server.process.wait(60) == 0


def over_grpc(server, folder):
    with PredictClient(server.grpc_address, "waiting", timeout=100) as client:
        return [answer.decode() for answer in client.predict({"folders": np.array([folder], object)})["folders"]]


def over_rest(server, folder):
    connection = http.client.HTTPConnection(rest_address(server), timeout=100)
    connection.request("POST", "/v1/models/waiting:predict", json.dumps({"instances": [folder]}))
    answer = json.load(connection.getresponse())
    connection.close()
    return answer["predictions"]


def rest_address(server):
    """host:port."""
    return server.rest_url.removeprefix("http://").partition("/")[0]


def refuses(address):
    """Whether nobody takes connections there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_requests_during_sigterm_are_answered_or_unavailable(models):
    kinds, asked = Counter(), Counter()

    def ask_without_pause(number, address):
        with PredictClient(address, "half") as client:
            while "Unavailable" not in kinds:
                try:
                    client.predict(ONE)
                    asked[number] += 1
                except ServingError as error:
                    kinds[type(error).__name__] += 1

    with process.running([str(models)]) as server:
        threads = [threading.Thread(target=ask_without_pause, args=(n, server.grpc_address)) for n in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: len(asked) == 8 and min(asked.values()) > 20)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.process.wait(60) == 0
    assert set(kinds) == {"Unavailable"}


def test_a_request_that_never_ends_does_not_keep_the_server(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def endless(x):
        # The server's own tries of the model stay below 1.
        return {"y": tf.while_loop(lambda y: tf.reduce_any(y >= 1), lambda y: (y * 1,), (x,))[0]}

    module = tf.Module()
    module.endless = endless
    tf.saved_model.save(module, str(tmp_path / "endless" / "1"), signatures={"serving_default": endless})
    with process.running([str(tmp_path), "--drain_seconds=1"]) as server, ThreadPoolExecutor() as pool:
        page = httpx.URL(server.rest_url).join("/monitoring/prometheus/metrics")
        with PredictClient(server.grpc_address, "endless") as client:
            asked = pool.submit(client.predict, {"x": np.ones(1, np.float32)}, timeout=60)
            until(lambda: 'cnn_tf_batch_requests_count{model="endless"' in httpx.get(page).text)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=10) == 1
            assert isinstance(asked.exception(), Unavailable)


def test_a_base_path_without_versions_waits_for_one(models):
    (models / "later").mkdir()
    arguments = [f"--model_base_path={models / 'later'}", "--model_name=later", FAST]
    with process.running(arguments) as server, PredictClient(server.grpc_address, "later") as client:
        with pytest.raises(NotFound, match=r"Latest\(later\)"):
            client.predict(ONE)
        shutil.copytree(models / "half" / "1", models / "later" / "5")
        assert client.wait_until_ready(timeout=30) == 5
        assert client.predict(ONE).version == 5


def test_models_are_independent_and_policies_hold(models, tmp_path):
    shutil.copytree(models / "half" / "1", models / "half" / "00000003")
    config = tmp_path / "models.config"
    config.write_text(
        f"""model_config_list {{
          config {{ name: "all" base_path: "{models / "half"}" model_platform: "tensorflow"
                    model_version_policy {{ all {{}} }} }},
          config: {{ name: "first", base_path: "{models / "half"}", model_platform: "tensorflow"
                    model_version_policy: {{ specific {{ versions: 1 }} }} }}
          config {{ name: "gone" base_path: "{tmp_path / "gone"}" model_platform: "tensorflow" }}
        }}"""
    )
    with process.running([f"--model_config_file={config}", "--rest_api_port=0"]) as server:
        assert server.rest_url == "off"
        found = {}
        for name in ("all", "first"):
            with PredictClient(server.grpc_address, name) as client:
                found[name] = states(client)
        assert found == {"all": {1: "AVAILABLE", 3: "AVAILABLE"}, "first": {1: "AVAILABLE"}}


def refused(*arguments):
    """The one line with which a server refuses to start."""
    command = [sys.executable, "-m", "serving.server", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in result.stderr
    return result.returncode, result.stderr.strip().splitlines()[-1]


def test_a_taken_port_is_told(models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flags in ([f"--port={port}", "--rest_api_port=0"], ["--port=0", f"--rest_api_port={port}"]):
            code, line = refused(models, *flags)
            assert code == 1
            assert f"127.0.0.1:{port}" in line


def test_paths_that_cannot_be_served_are_told(models, tmp_path):
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "empty").mkdir()
    version = models / "half" / "1"
    for arguments, code, text in [
        ([file], 2, "Expected a folder of models"),
        ([tmp_path / "none"], 2, "nothing is there"),
        ([tmp_path / "empty"], 2, "cnn-tf export"),
        ([models / "half"], 2, f"Pass its parent, {models}"),
        ([f"--model_base_path={file}"], 2, "Received a file"),
        ([f"--model_base_path={version}"], 2, f"Pass {models / 'half'}"),
        (["--model_base_path=relative"], 2, "must be an absolute path"),
        ([f"--model_config_file={file}.none"], 2, "with a tensorflow.serving.ModelServerConfig"),
        ([], 2, "say what to serve"),
        (["--port=0", models, "--rest_api_port=0"], 2, "nothing to serve on"),
        (["--port=abc", models], 2, "a port is"),
        (["--port=99999999", models], 2, "a port is"),
        (["--enable_batching=maybe", models], 2, "expected true or false"),
    ]:
        actual, line = refused(*arguments)
        assert (actual, text in line) == (code, True), line


def test_a_server_that_does_not_start_is_told_by_its_last_words(tmp_path):
    with pytest.raises(Unavailable, match="nothing is there"), process.running([str(tmp_path / "none")]):
        pass
