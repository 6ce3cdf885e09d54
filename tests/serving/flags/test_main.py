"""The server's process as scripts and people see it: outputs and exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys

import forks
import pytest

ORIGINAL = [sys.executable, "-c", forks.ORIGINAL]
OURS = [sys.executable, "-m", "serving.server"]


def run(command, *arguments, timeout=60):
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize("command", [OURS, ORIGINAL])
def test_versions(command):
    result = run(command, "--version")
    first, second = result.stdout.splitlines()
    assert result.returncode == 0
    assert first.startswith("TensorFlow ModelServer: 2.")
    assert second.startswith("TensorFlow Library: 2.")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port=0"], "INVALID_ARGUMENT: At least one of server_options.grpc_port"),
        (["--model_base_path=relative"], "INVALID_ARGUMENT: --model_base_path must be an absolute path"),
        (["--model_base_path=/m", "--batching_parameters_file=/x"], "INVALID_ARGUMENT: server_options.batching_para"),
        (["--model_config_file=/none/at/all"], "INVALID_ARGUMENT: Cannot read the file"),
        (
            ["--model_base_path=/m", "--ssl_config_file=/none"],
            "INVALID_ARGUMENT: Cannot read the file /none with",
        ),
        (["--model_base_path=/m", "--auth_token_file=/none"], "INVALID_ARGUMENT: Cannot read the token file"),
    ],
)
def test_a_script_is_told_why_nothing_starts(arguments, told):
    result = run(ORIGINAL, *arguments)
    assert result.returncode == 255
    assert result.stdout.splitlines()[-1].startswith(f"Failed to start server. Error: {told}")
    assert "Traceback" not in result.stderr


def test_a_broken_config_file_names_its_message_on_stderr(tmp_path):
    config = tmp_path / "models.config"
    config.write_text("model_config_list { nonsense }")
    result = run(ORIGINAL, f"--model_config_file={config}")
    assert result.returncode == 255
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in result.stderr


def test_nothing_but_the_log_is_written_when_a_server_starts(tmp_path, unforked):
    (tmp_path / "none").mkdir()
    arguments = [f"--model_base_path={tmp_path / 'none'}", "--port=auto"]
    with subprocess.Popen([*OURS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.terminate()
        lines = process.communicate(timeout=30)[1].splitlines()
    assert lines
    assert [line for line in lines if not line.startswith('{"time": ')] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_when_it_is_told(tmp_path, number):
    (tmp_path / "none").mkdir()
    arguments = [f"--model_base_path={tmp_path / 'none'}", "--port=auto"]
    with subprocess.Popen([*OURS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("Ready. gRPC: 127.0.0.1:")
        process.send_signal(number)
        assert process.wait(timeout=30) == 0


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    (tmp_path / "none").mkdir()
    # Stopping takes as long as its handler, which here waits for the second signal.
    code = (
        "import signal, threading, sys\n"
        "from serving.server import main\n"
        "class Server:\n"
        "    grpc_addresses = rest_addresses = ()\n"
        "    def load(self): pass\n"
        "    open = load\n"
        "    def stop(self, seconds): print('stopping', flush=True); threading.Event().wait()\n"
        "main._server = lambda flags, models: Server()\n"
        "sys.exit(main.main())\n"
    )
    command = [sys.executable, "-c", code, f"--model_base_path={tmp_path / 'none'}", "--live=false"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("Ready.")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT


def test_nothing_of_tensorflow_is_imported_before_it_is_needed():
    code = "import serving.server.main, os, sys; print('tensorflow' in sys.modules)"
    code += "; print(os.environ['TF_OVERRIDE_GLOBAL_THREADPOOL'])"
    assert run([sys.executable, "-c", code]).stdout.split() == ["False", "1"]
