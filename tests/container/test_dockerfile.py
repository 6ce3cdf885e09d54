"""What can be said of the serving image without building it: lint, settings files, health check."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "serving" / "deploy"

# TensorFlow Serving's messages of the settings files, which tensorflow-serving-api lacks.
SETTINGS = """
name: "settings.proto"
syntax: "proto3"
dependency: "google/protobuf/wrappers.proto"
message_type {
  name: "BatchingParameters"
  field { number: 1 name: "max_batch_size" type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { number: 2 name: "batch_timeout_micros" type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { number: 3 name: "max_enqueued_batches" type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { number: 4 name: "num_batch_threads" type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { number: 5 name: "thread_pool_name" type: TYPE_MESSAGE type_name: ".google.protobuf.StringValue" }
  field { number: 6 name: "allowed_batch_sizes" type: TYPE_INT64 label: LABEL_REPEATED }
  field { number: 7 name: "pad_variable_length_inputs" type: TYPE_BOOL }
  field { number: 8 name: "enable_large_batch_splitting" type: TYPE_MESSAGE type_name: ".google.protobuf.BoolValue" }
  field { number: 9 name: "max_execution_batch_size" type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
}
message_type {
  name: "PrometheusConfig"
  field { number: 1 name: "enable" type: TYPE_BOOL }
  field { number: 2 name: "path" type: TYPE_STRING }
}
message_type {
  name: "MonitoringConfig"
  field { number: 1 name: "prometheus_config" type: TYPE_MESSAGE type_name: ".PrometheusConfig" }
}
"""


def parse(file: Path, message: str):
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(text_format.Parse(SETTINGS, descriptor_pb2.FileDescriptorProto()))
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(message))()
    return text_format.Parse(file.read_text(), made, descriptor_pool=pool)


def test_dockerfile_is_clean():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not hadolint:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([hadolint, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "hadolint ignore" not in (ROOT / "Dockerfile").read_text()


def test_dockerfile_copies_every_settings_file():
    text = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"/config/(\w+\.config)", text)) == {file.name for file in DEPLOY.glob("*.config")}
    for file in re.findall(r"serving/deploy/\S+", text):
        assert (ROOT / file).is_file()


def test_batching_parameters():
    batching = parse(DEPLOY / "batching.config", "BatchingParameters")
    assert 0 < batching.max_execution_batch_size.value <= batching.max_batch_size.value
    assert batching.enable_large_batch_splitting.value
    assert list(batching.allowed_batch_sizes)[-1:] in ([], [batching.max_batch_size.value])


def test_monitoring_is_on():
    monitoring = parse(DEPLOY / "monitoring.config", "MonitoringConfig")
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


def config_of(*names: str) -> str:
    configs = [
        f'config {{ name: "{name}", base_path: "/models/{name}", model_platform: "tensorflow" }}' for name in names
    ]
    return f"model_config_list: {{ {' '.join(configs)} }}"


# states: model -> states of its versions; a model that is not in it is unknown to the server.
@pytest.mark.parametrize(
    ("config", "states", "said"),
    [
        (config_of("one"), {"one": ["AVAILABLE"]}, "healthy: one"),
        (config_of("one", "two.v1-b"), {"one": ["AVAILABLE"], "two.v1-b": ["AVAILABLE"]}, "healthy: one two.v1-b"),
        (config_of("one"), {"one": ["LOADING", "AVAILABLE", "END"]}, "healthy: one"),
        (config_of("one"), {"one": ["LOADING"]}, "unhealthy: no version of model one is AVAILABLE"),
        (
            config_of("one", "two"),
            {"one": ["AVAILABLE"], "two": ["END"]},
            "unhealthy: no version of model two is AVAILABLE",
        ),
        (config_of("one"), {}, "unhealthy: no version of model one is AVAILABLE"),
        ("", {"one": ["AVAILABLE"]}, "unhealthy: no model is named"),
        ('# name: "old"\nconfig{name:\'one\' # name: "x"\n  filename: "y"}', {"one": ["AVAILABLE"]}, "healthy: one"),
    ],
)
def test_health(tmp_path, config, states, said):
    (tmp_path / "models.config").write_text(config)
    with status_server(states) as port:
        check_health(tmp_path / "models.config", port, said)


def test_nobody_answers(tmp_path):
    (tmp_path / "models.config").write_text(config_of("one"))
    with status_server({}) as port:
        pass
    check_health(tmp_path / "models.config", port, f"unhealthy: nobody answers on 127.0.0.1:{port}")


def test_no_config(tmp_path):
    check_health(tmp_path / "models.config", 1, "unhealthy: cannot read")


def test_server_that_hangs(tmp_path):
    (tmp_path / "models.config").write_text(config_of("one"))
    with http.server.HTTPServer(("127.0.0.1", 0), StatusHandler) as listening:  # accepts nothing
        check_health(tmp_path / "models.config", listening.server_port, "unhealthy: no version of model one", seconds=1)


class StatusHandler(http.server.BaseHTTPRequestHandler):
    """TensorFlow Serving's model status API, with the states in `server.states`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        states = self.server.states.get(self.path.removeprefix("/v1/models/"))
        versions = [{"version": str(i), "state": state} for i, state in enumerate(states or [])]
        content = {"model_version_status": versions} if states else {"error": 'Is not "AVAILABLE"'}
        body = json.dumps(content, indent=1).encode()
        self.send_response(200 if states else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def status_server(states):
    with http.server.HTTPServer(("127.0.0.1", 0), StatusHandler) as server:
        server.states = states
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def check_health(config, port, said, seconds=4):
    """Runs the script, which must say `said`, with the exit code that belongs to it, within `seconds`."""
    settings = {"HEALTH_CONFIG": str(config), "HEALTH_PORT": str(port), "HEALTH_SECONDS": str(seconds)}
    # No PATH: the image has hardly any programs.
    result = subprocess.run(
        [shutil.which("bash"), DEPLOY / "healthcheck.sh"],
        env=settings | {"PATH": ""},
        capture_output=True,
        text=True,
        timeout=seconds + 2,
    )
    assert result.stdout.startswith(said)
    assert result.stderr == ""
    assert result.returncode == (0 if said.startswith("healthy") else 1)
