"""Arguments to flags: for people, and for scripts that start tensorflow_model_server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidArgument, NotFound
from serving.server import command_line
from serving.server.command_line import FLAGS, parse, parse_original

BASE = "--model_base_path=/m"


@pytest.mark.parametrize("read", [parse, parse_original])
@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--port=9000", "port", 9000),
        ("--rest_api_port=8501", "rest_api_port", 8501),
        ("--rest_api_port=auto", "rest_api_port", 0),
        ("--enable_batching", "enable_batching", True),
        ("--enable_batching=TRUE", "enable_batching", True),
        ("--enable_model_warmup=False", "enable_model_warmup", False),
        ("--model_name=a=b", "model_name", "a=b"),
        ("--model_name=", "model_name", ""),
        ("--model_config_file=", "model_config_file", None),
        ("--ssl_config_file=x/y", "ssl_config_file", Path("x/y")),
        ("--file_system_poll_wait_seconds=-1", "file_system_poll_wait_seconds", -1),
        ("--per_process_gpu_memory_fraction=0.5", "per_process_gpu_memory_fraction", 0.5),
        ("--load_retry_interval_micros=0", "load_retry_interval_micros", 0),
    ],
)
def test_values_are_read(read, argument, name, value):
    assert getattr(read([BASE, argument]), name) == value


def test_the_last_of_several_counts():
    assert parse_original([BASE, "--port=1", "--port=2"]).port == 2


def test_a_folder_of_models_opens_rest_too():
    flags = parse(["models"])
    assert (flags.models, flags.port, flags.rest_api_port) == (Path("models"), 8500, 8501)
    assert parse(["models", "--rest_api_port=0"]).rest_api_port is None
    assert parse([BASE]).rest_api_port is None


def test_people_may_write_the_value_apart():
    flags = parse(["--port", "9000", "--enable_batching", "models", "--model_name", "x"])
    assert (flags.port, flags.enable_batching, flags.models, flags.model_name) == (9000, True, Path("models"), "x")


def test_the_faces_differ_in_what_they_listen_on_and_guard():
    ours, original = parse([BASE]), parse_original([BASE])
    assert (ours.bind_address, original.bind_address) == ("127.0.0.1", "0.0.0.0")
    assert (ours.max_image_pixels, original.max_image_pixels) == (178_956_970, 0)
    assert parse_original([BASE, "--bind_address=::1"]).bind_address == "::1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port=abc", "models"], "argument --port: a port is 0 to 65535 or auto. Received: abc"),
        (["--port=70000", "models"], "a port is"),
        (["--enable_batching=maybe", "models"], "expected true or false. Received: maybe"),
        (["--num_load_threads=1_000", "models"], "expected an integer. Received: 1_000"),
        (["--drain_seconds=soon", "models"], "expected a number"),
        (["models", "--port"], "--port needs a value: --port=N"),
        (["models", "--model_config_file", "--port=1"], "--model_config_file needs a value: --model_config_file=FILE"),
        (
            ["models", "--auth_token_fil=t.txt"],
            "unknown argument --auth_token_fil=t.txt. Did you mean --auth_token_file?",
        ),
        (["models", "--quux"], "unknown argument --quux."),
        (["models", "-port=1"], "unknown argument -port=1. Write --port=N"),
        (["models", "more"], "expected one folder of models. Received another argument: more"),
        ([], "say what to serve"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments, told, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments, "cnn-tf serve")
    output = capsys.readouterr()
    assert (ended.value.code, output.out) == (2, "")
    assert told in output.err.splitlines()[-1]
    assert len(output.err.splitlines()) == 2


@pytest.mark.parametrize("arguments", [["--help"], [BASE, "--port=x"], ["--enable_batching=2", BASE]])
def test_scripts_get_usage_and_255(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_original(arguments)
    assert ended.value.code == 255
    usage = capsys.readouterr().out
    assert usage.startswith("usage: tensorflow_model_server\nFlags:\n\t--model_name=default")
    assert all(f"\t--{name}=" in usage for name in FLAGS)


def test_scripts_go_on_after_unknown_arguments(capsys, caplog):
    flags = parse_original(["--port", "9000", BASE, "--new_flag=1"])
    assert flags.port == 8500
    assert capsys.readouterr().out.startswith("unknown argument: --port\nusage: tensorflow_model_server\n")
    assert "Unknown argument --port is ignored. Write --port=N" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "model_base_path and server_options.model_config_file are empty!"),
        (["models"], "model_base_path and server_options.model_config_file are empty!"),
        ([BASE, "--port=0", "--rest_api_port=8501"], "grpc_port or server_options.grpc_socket_path must be set."),
    ],
)
def test_scripts_are_refused_what_the_original_refuses(arguments, told):
    with pytest.raises(InvalidArgument) as refused:
        parse_original(arguments)
    assert told in refused.value.message


def test_what_a_failed_start_prints():
    line = "Failed to start server. Error: NOT_FOUND: no such thing\n"
    assert command_line.failed_to_start(NotFound("no such thing")) == line


@pytest.mark.parametrize("read", [parse, parse_original])
def test_rest_on_the_port_of_grpc_is_skipped(read, caplog):
    assert read([BASE, "--port=9000", "--rest_api_port=9000"]).rest_api_port is None
    assert "http_port cannot be same as grpc_port" in caplog.text
    assert read([BASE, "--port=auto", "--rest_api_port=auto"]).rest_api_port == 0


@pytest.mark.parametrize("prog", ["cnn-tf serve", "python -m serving.server"])
def test_the_help_fits_a_terminal_and_names_every_flag(prog, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], prog)
    help_text = capsys.readouterr().out
    assert ended.value.code == 0
    assert max(map(len, help_text.splitlines())) <= 80
    assert all(f"  --{name}" in help_text for name in FLAGS)


@given(st.lists(st.text(max_size=30) | st.sampled_from([f"--{name}" for name in FLAGS]).map(lambda flag: flag + "=1")))
def test_arguments_are_read_or_refused(arguments):
    for read in (parse, parse_original):
        with contextlib.suppress(SystemExit, InvalidArgument):
            read([BASE, *arguments])
