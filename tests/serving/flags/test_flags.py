"""Every flag of tensorflow_model_server, and what flags say of each other."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from serving.errors import InvalidArgument
from serving.server.flags import _CPUS, IGNORED, Flags

MODELS = Path("/models")

# As tensorflow_model_server has them; "" is no file, port 0 is off.
ORIGINAL = {
    "port": 8500,
    "rest_api_port": None,
    "rest_api_timeout_in_ms": 30000,
    "rest_api_enable_cors_support": False,
    "model_name": "default",
    "model_base_path": "",
    "model_config_file": None,
    "model_config_file_poll_wait_seconds": 0,
    "file_system_poll_wait_seconds": 1,
    "max_num_load_retries": 5,
    "load_retry_interval_micros": 60_000_000,
    "allow_version_labels_for_unavailable_models": False,
    "enable_batching": False,
    "batching_parameters_file": None,
    "enable_model_warmup": True,
    "monitoring_config_file": None,
    "enable_grpc_healthcheck_service": False,
    "version": False,
    "tensorflow_intra_op_parallelism": 0,
    "tensorflow_inter_op_parallelism": 0,
    "per_process_gpu_memory_fraction": 0,
    "grpc_socket_path": "",
    "grpc_channel_arguments": "",
    "grpc_max_threads": 4 * _CPUS,
    "rest_api_num_threads": 4 * _CPUS,
    "enable_per_model_batching_parameters": False,
    "num_load_threads": 0,
    "num_unload_threads": 0,
    "flush_filesystem_caches": True,
    "num_request_iterations_for_warmup": 0,
    "tensorflow_session_parallelism": 0,
    "tensorflow_session_config_file": None,
    "platform_config_file": None,
    "saved_model_tags": "serve",
    "thread_pool_factory_config_file": None,
    "use_alts_credentials": False,
    "ssl_config_file": None,
    "enable_profiler": True,
    "enable_signature_method_name_check": False,
    "remove_unused_fields_from_bundle_metagraph": True,
    "enable_serialization_as_tensor_content": False,
    "prefer_tflite_model": False,
    "num_tflite_pools": _CPUS,
    "num_tflite_interpreters_per_pool": 1,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
    "mixed_precision": "",
    "skip_initialize_tpu": False,
}


def test_all_flags_of_the_original_are_there_with_their_defaults():
    flags = Flags(models=MODELS)
    assert len(ORIGINAL) == 48
    assert {name: getattr(flags, name) for name in ORIGINAL} == ORIGINAL


def test_every_flag_has_a_line_of_help():
    for field in dataclasses.fields(Flags)[1:]:
        assert field.metadata["help"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"models": None}, "say what to serve"),
        ({"model_base_path": "/m"}, "pass either"),
        ({"models": None, "model_base_path": "m"}, "absolute path. Received: m"),
        ({"port": None}, "nothing to serve on"),
        ({"bind_address": " , "}, "--bind_address must name"),
        ({"grpc_max_threads": 0}, "--grpc_max_threads must be 1 or more. Received: 0"),
        ({"drain_seconds": float("nan")}, "--drain_seconds must be 0 or more"),
        ({"grpc_transport": "tcp"}, "--grpc_transport must be auto or grpcio or http2. Received: tcp"),
        ({"mixed_precision": "float16"}, "--mixed_precision must be empty or bfloat16"),
        ({"log_format": "xml"}, "--log_format must be auto or text or json"),
        ({"use_alts_credentials": True}, "Use --ssl_config_file"),
        ({"use_alts_credentials": True, "ssl_config_file": Path("x")}, "Cannot set both use_alts_credentials and"),
        ({"batching_parameters_file": Path("x")}, "is set without setting server_options.enable_batching to true."),
        ({f"tensorflow_{pool}_parallelism": 1 for pool in ("session", "intra_op", "inter_op")}, "Received all three"),
        ({"rest_api_ssl": True}, "--rest_api_ssl needs the keys of --ssl_config_file"),
        ({"max_request_burst": 5}, "--max_request_burst needs --max_requests_per_second"),
        ({"grpc_channel_arguments": "grpc.x"}, "NAME=VALUE,NAME=VALUE. Received: grpc.x"),
        ({"grpc_channel_arguments": "=1"}, "NAME=VALUE,NAME=VALUE. Received: =1"),
    ],
)
def test_what_contradicts_itself_is_refused(wrong, told):
    with pytest.raises(InvalidArgument) as refused:
        Flags(**{"models": MODELS, **wrong})
    assert told in refused.value.message


@pytest.mark.parametrize(
    "right",
    [
        {"model_base_path": "s3://bucket/m"},
        {"model_base_path": "/m", "model_config_file": Path("c"), "model_name": "ignored"},
        {"models": MODELS, "port": None, "rest_api_port": 8501},
        {"models": MODELS, "port": None, "grpc_socket_path": "/tmp/s"},
        {"models": MODELS, "port": None, "check": True},
        {"models": MODELS, "tensorflow_session_parallelism": 1, "tensorflow_intra_op_parallelism": 1},
        {"version": True},
    ],
)
def test_what_agrees_is_taken(right):
    assert Flags(**right)


def test_lists_are_split():
    flags = Flags(
        models=MODELS,
        bind_address="127.0.0.1, [::1],::",
        saved_model_tags="serve,gpu",
        grpc_channel_arguments="grpc.max_connection_age_ms=2000,grpc.lb=a=b,x=3000000000,y=",
    )
    assert flags.bind_addresses == ("127.0.0.1", "[::1]", "[::]")
    assert flags.tags == ("serve", "gpu")
    settings = (("grpc.max_connection_age_ms", 2000), ("grpc.lb", "a=b"), ("x", "3000000000"), ("y", ""))
    assert flags.channel_arguments == settings


def test_what_has_no_effect_says_so_once(caplog):
    with caplog.at_level(logging.WARNING):
        Flags(models=MODELS).warn_of_what_is_ignored()
        assert caplog.records == []
        Flags(models=MODELS, num_load_threads=4, port=1).warn_of_what_is_ignored()
    assert [record.message for record in caplog.records] == [
        "--num_load_threads=4 has no effect here: each model has a thread of its own"
    ]


def test_flags_that_say_they_have_no_effect_are_in_the_last_group():
    groups = [field.metadata["group"] for field in dataclasses.fields(Flags)[1:]]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)  # each group is in one piece
    assert groups[-1] == IGNORED
