"""Section 4: the flags of TensorFlow Serving, their defaults, and how a start ends that fails."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import forks
import httpx
import pytest
from support import until

from serving.server import process

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
TABLE = f"""
port=8500 rest_api_port=0 rest_api_timeout_in_ms=30000 rest_api_enable_cors_support=false model_name=default
model_base_path= model_config_file= model_config_file_poll_wait_seconds=0 file_system_poll_wait_seconds=1
max_num_load_retries=5 load_retry_interval_micros=60000000 allow_version_labels_for_unavailable_models=false
enable_batching=false batching_parameters_file= enable_model_warmup=true monitoring_config_file=
enable_grpc_healthcheck_service=false version=false tensorflow_intra_op_parallelism=0
tensorflow_inter_op_parallelism=0 per_process_gpu_memory_fraction=0 grpc_socket_path= grpc_channel_arguments=
grpc_max_threads={4 * CPUS} rest_api_num_threads={4 * CPUS} enable_per_model_batching_parameters=false num_load_threads=0
num_unload_threads=0 flush_filesystem_caches=true num_request_iterations_for_warmup=0 tensorflow_session_parallelism=0
tensorflow_session_config_file= platform_config_file= saved_model_tags=serve thread_pool_factory_config_file=
use_alts_credentials=false ssl_config_file= enable_profiler=true enable_signature_method_name_check=false
remove_unused_fields_from_bundle_metagraph=true enable_serialization_as_tensor_content=false prefer_tflite_model=false
num_tflite_pools={CPUS} num_tflite_interpreters_per_pool=1 xla_cpu_compilation_enabled=false
xla_gpu_compilation_enabled=false mixed_precision= skip_initialize_tpu=false
""".split()
ORIGINAL = [sys.executable, "-c", forks.ORIGINAL]


def original(*arguments, timeout=120):
    """What a start of `tensorflow_model_server` that ends by itself leaves: exit code, output, errors."""
    done = subprocess.run([*ORIGINAL, *arguments], capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def test_there_are_48():
    assert len({flag.partition("=")[0] for flag in TABLE}) == 48


def test_help_lists_every_flag_with_its_default():
    code, output, _ = original("--help")
    assert code == 255
    assert output.startswith("usage: ")
    listed = dict(re.findall(r"^\t--(\w+)=(\S*)\s", output, re.MULTILINE))
    assert {name: listed.get(name) for name, _, _ in (flag.partition("=") for flag in TABLE)} == dict(
        flag.split("=") for flag in TABLE
    )


def test_version():
    code, output, _ = original("--version")
    assert code == 0
    assert re.fullmatch(r"TensorFlow ModelServer: \S+\nTensorFlow Library: \S+\n", output)


def test_every_flag_is_taken_by_our_name(models):
    flags = [f"--{flag}" for flag in TABLE if not re.match("port=|rest_api_port|model_base_path|version", flag)]
    with process.running([*flags, f"--model_base_path={models}/half"]) as server:
        assert httpx.get(server.rest_url + "default").status_code == 200


def test_every_flag_is_taken_by_its_own_name(models, tmp_path):
    port, rest_port = free_port(), free_port()
    given = {"port": port, "rest_api_port": rest_port, "model_base_path": f"{models}/half"}
    flags = [f"--{name}={given.get(name, value)}" for name, _, value in (flag.partition("=") for flag in TABLE)]
    with (tmp_path / "log").open("w+") as log:
        server = subprocess.Popen([*ORIGINAL, *flags, "--no_such"], stdout=log, stderr=log)
        try:
            until(lambda: server.poll() is not None or is_up(rest_port), 90)
            assert server.poll() is None
        finally:
            server.terminate()
            assert server.wait(30) == 0
        log.seek(0)
        text = log.read()
    # Unknown arguments are told with the usage, and the server goes on.
    assert "unknown argument: --no_such" in text
    assert len(re.findall("unknown argument", text)) == 1


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def is_up(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/models/default").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (["--model_base_path=m"], "model_base_path"),
        (["--port=0"], "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."),
        (["--batching_parameters_file=/x"], "batching_parameters_file is set without setting"),
        (["--model_config_file=BAD"], "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        (["--model_config_file=/no/such"], "/no/such"),
        (["--enable_batching", "--batching_parameters_file=BAD"], "text-format tensorflow.serving.BatchingParameters"),
        (["--rest_api_port=2", "--monitoring_config_file=BAD"], "text-format tensorflow.serving.MonitoringConfig"),
        (["--ssl_config_file=BAD"], "text-format tensorflow.serving.SSLConfig"),
        (
            ["--use_alts_credentials", "--ssl_config_file=BAD"],
            "Cannot set both use_alts_credentials and ssl_config_file",
        ),
        (
            [f"--tensorflow_{kind}_parallelism=1" for kind in ("session", "intra_op", "inter_op")],
            "tensorflow_session_parallelism",
        ),
        (["--mixed_precision=half"], "mixed_precision"),
    ],
)
def test_failed_starts(flags, text, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text("no_such_field: 1")
    rest = ["--port=1"] if not any(flag.startswith("--port=") for flag in flags) else []
    if flags and not any("model_" in flag for flag in flags):
        rest.append(f"--model_base_path={tmp_path}")
    code, output, errors = original(*(flag.replace("BAD", str(bad)) for flag in flags), *rest)
    assert (code, text in output + errors) == (255, True), output + errors
    assert "Failed to start server. Error: " in output


@pytest.mark.parametrize("flag", ["--port=abc", "--enable_batching=maybe", "--max_num_load_retries=x"])
def test_a_bad_value_ends_with_the_usage(flag):
    code, output, _ = original(flag, "--model_base_path=/m")
    assert (code, "usage: " in output) == (255, True)
