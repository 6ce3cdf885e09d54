"""Every flag of the server: `tensorflow_model_server`'s 48, and a few of our own.

`Flags` is the table: a field is a flag, with its type, default, group in the help, and line of help. `command_line` reads
them and writes the help from here; nothing else lists flags.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from serving.errors import InvalidArgument

_log = logging.getLogger(__name__)

Port: TypeAlias = int | None
"""None: off. 0: any free one."""

# Those that this process may use, where the system tells.
_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_PER_CPU = 4 * _CPUS

SERVE = "What to serve"
LISTEN = "Where to listen"
VERSIONS = "Versions and how they are loaded"
SPEED = "Batching and speed"
SECURITY = "Who may ask, and how much"
WATCH = "Logs, metrics, health"
LITE = "TensorFlow Lite"
EDGE = "Details of the interfaces"
IGNORED = "Accepted for the sake of scripts, without effect here"

# 512 MiB once decoded to colours, and four times that as float32; TensorFlow's own decoders stop at three times as many.
MAX_IMAGE_PIXELS = 178_956_970


def _flag(default: Any, group: str, text: str) -> Any:
    """A row of the table."""
    return dataclasses.field(default=default, metadata={"group": group, "help": text})


@dataclass(frozen=True)
class Flags:
    """How to serve. Raises InvalidArgument for what contradicts itself."""

    models: Path | None = None
    """A folder of models, instead of --model_base_path or --model_config_file; no flag, but the one argument."""

    model_name: str = _flag("default", SERVE, "name of the model at --model_base_path")
    model_base_path: str = _flag("", SERVE, "folder that holds the version folders of one model, absolute")
    model_config_file: Path | None = _flag(None, SERVE, "text file with a ModelServerConfig: models, policies, labels")
    model_config_file_poll_wait_seconds: float = _flag(0.0, SERVE, "how often to read it again; 0: never")
    saved_model_tags: str = _flag("serve", SERVE, "tags of the graph to load, separated by commas")
    prefer_tflite_model: bool = _flag(False, SERVE, "serve a version's model.tflite if it has one")
    check: bool = _flag(False, SERVE, "load and try every model, open no port, and tell what is wrong")
    version: bool = _flag(False, SERVE, "print the versions and exit")

    bind_address: str = _flag(
        "127.0.0.1", LISTEN, "addresses to listen on, separated by commas; 0.0.0.0: every IPv4 interface, [::]: all"
    )
    port: Port = _flag(8500, LISTEN, "gRPC; 0: off, auto: a free one")
    rest_api_port: Port = _flag(None, LISTEN, "REST; 8501 for a folder of models; 0: off, auto: a free one")
    grpc_socket_path: str = _flag("", LISTEN, "a Unix socket for gRPC too")
    grpc_transport: str = _flag("auto", LISTEN, "who carries gRPC: auto, grpcio or http2")
    grpc_max_threads: int = _flag(_PER_CPU, LISTEN, "gRPC threads (4 x CPUs)")
    rest_api_num_threads: int = _flag(_PER_CPU, LISTEN, "REST threads (4 x CPUs)")
    rest_api_timeout_in_ms: int = _flag(30000, LISTEN, "how long a REST request may take")
    drain_seconds: float = _flag(8.0, LISTEN, "how long to finish requests when stopped (docker stop kills after 10)")

    file_system_poll_wait_seconds: float = _flag(
        1.0, VERSIONS, "how often to look for new versions; 0: at the start only, less: never"
    )
    max_num_load_retries: int = _flag(5, VERSIONS, "how often to try a version again that fails to load")
    load_retry_interval_micros: int = _flag(60_000_000, VERSIONS, "pause before that")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, VERSIONS, "let a new label name a version that is not loaded yet"
    )
    enable_model_warmup: bool = _flag(True, VERSIONS, "replay a version's recorded requests before it is available")
    num_request_iterations_for_warmup: int = _flag(0, VERSIONS, "how often to replay each; 0: once")
    tensorflow_session_config_file: Path | None = _flag(None, VERSIONS, "text file with a ConfigProto")

    enable_batching: bool = _flag(
        False, SPEED, "batch as --batching_parameters_file says, or as the original does; else adaptively"
    )
    batching_parameters_file: Path | None = _flag(None, SPEED, "text file with BatchingParameters")
    enable_per_model_batching_parameters: bool = _flag(
        False, SPEED, "take them from batching_params.pbtxt in a version's folder"
    )
    optimize: bool = _flag(True, SPEED, "freeze, fold and choose threads where the outputs stay the same")
    mixed_precision: str = _flag("", SPEED, "bfloat16: faster and less exact, on CPUs that have it")
    xla_cpu_compilation_enabled: bool = _flag(False, SPEED, "compile with XLA")
    tensorflow_session_parallelism: int = _flag(0, SPEED, "threads within and between operations; 0: measured")
    tensorflow_intra_op_parallelism: int = _flag(0, SPEED, "threads within an operation; 0: measured")
    tensorflow_inter_op_parallelism: int = _flag(0, SPEED, "threads between operations; 0: measured")
    per_process_gpu_memory_fraction: float = _flag(0.0, SPEED, "of each GPU's memory, for this server; 0: all it needs")

    ssl_config_file: Path | None = _flag(
        None, SECURITY, "text file with an SSLConfig, PEM text in it: gRPC is then encrypted"
    )
    rest_api_ssl: bool = _flag(False, SECURITY, "encrypt REST with the same keys")
    auth_token_file: Path | None = _flag(
        None,
        SECURITY,
        "file with a token a line; all requests but health's must carry one: authorization: Bearer TOKEN",
    )
    max_requests_per_second: float = _flag(0.0, SECURITY, "of one client (its token, else its address); 0: any number")
    max_request_burst: int = _flag(0, SECURITY, "of one client at once; 0: as many as in a second")
    max_concurrent_requests: int = _flag(0, SECURITY, "of one client under way; 0: any number")
    max_request_bytes: int = _flag(2**31 - 1, SECURITY, "of one request; REST takes 256 MiB at most")
    max_image_pixels: int = _flag(
        MAX_IMAGE_PIXELS, SECURITY, "width x height x frames of an encoded picture; larger ones are not decoded; 0: any"
    )

    live: bool = _flag(True, WATCH, "show what goes on, when the output is a terminal")
    log_format: str = _flag("auto", WATCH, "text, json, or auto: text on a terminal, json elsewhere")
    log_requests: str = _flag("errors", WATCH, "a line for each request: all, errors (a limited number) or none")
    trace_requests: bool = _flag(
        False, WATCH, "send OpenTelemetry traces; on in any case if OTEL_EXPORTER_OTLP_ENDPOINT is set"
    )
    monitoring_config_file: Path | None = _flag(
        None, WATCH, "text file with a MonitoringConfig: the path of the metrics, or none"
    )
    enable_grpc_healthcheck_service: bool = _flag(False, WATCH, "on in any case here")
    enable_profiler: bool = _flag(True, WATCH, "let TensorBoard take profiles through the gRPC port")

    num_tflite_pools: int = _flag(_CPUS, LITE, "pools of interpreters (CPUs)")
    num_tflite_interpreters_per_pool: int = _flag(1, LITE, "interpreters in each")

    rest_api_enable_cors_support: bool = _flag(False, EDGE, "let pages of other sites ask")
    grpc_channel_arguments: str = _flag("", EDGE, "gRPC's own settings: grpc.max_concurrent_streams=100,NAME=VALUE")
    enable_signature_method_name_check: bool = _flag(False, EDGE, "classify and regress only what was exported for it")
    enable_serialization_as_tensor_content: bool = _flag(False, EDGE, "answer with tensor_content instead of float_val")

    use_alts_credentials: bool = _flag(False, IGNORED, "refused: ALTS needs Google's machines; see --ssl_config_file")
    num_load_threads: int = _flag(0, IGNORED, "each model has a thread of its own")
    num_unload_threads: int = _flag(0, IGNORED, "each model has a thread of its own")
    flush_filesystem_caches: bool = _flag(True, IGNORED, "loaded files are not kept in a cache of the server's")
    remove_unused_fields_from_bundle_metagraph: bool = _flag(True, IGNORED, "they are never kept")
    platform_config_file: Path | None = _flag(None, IGNORED, "the only platform is tensorflow")
    thread_pool_factory_config_file: Path | None = _flag(None, IGNORED, "threads are chosen by measurement")
    xla_gpu_compilation_enabled: bool = _flag(False, IGNORED, "XLA compiles for CPUs alone")
    skip_initialize_tpu: bool = _flag(False, IGNORED, "TPUs are not used")

    def __post_init__(self) -> None:
        self._require_something_to_do()
        self._require_ranges()
        self._require_agreement()

    @property
    def bind_addresses(self) -> Sequence[str]:
        """Hosts, one or more, IPv6 in brackets."""
        return tuple(f"[{host}]" if ":" in host and host[0] != "[" else host for host in _listed(self.bind_address))

    @property
    def is_local(self) -> bool:
        """Whether only processes of this machine can ask."""
        return all(host.startswith(("127.", "localhost", "[::1]")) for host in self.bind_addresses)

    @property
    def tags(self) -> Sequence[str]:
        """Of the graph to load."""
        return _listed(self.saved_model_tags)

    @property
    def channel_arguments(self) -> Sequence[tuple[str, int | str]]:
        """Settings of gRPC itself; a value that is a 32-bit integer is one. Raises InvalidArgument."""
        return tuple(map(_channel_argument, _listed(self.grpc_channel_arguments)))

    def warn_of_what_is_ignored(self) -> None:
        """Logs each flag that was given a value but has no effect here."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("group") == IGNORED and value != field.default:
                _log.warning("--%s=%s has no effect here: %s", field.name, value, field.metadata["help"])

    def _require_something_to_do(self) -> None:
        if self.version:
            return
        if not (self.models or self.model_base_path or self.model_config_file):
            raise InvalidArgument(
                "say what to serve: a folder of models, or --model_base_path=FOLDER, or --model_config_file=FILE"
            )
        if self.models and (self.model_base_path or self.model_config_file):
            raise InvalidArgument("pass either a folder of models, or --model_config_file / --model_base_path")
        if self.model_base_path and not self.model_config_file and not _is_absolute(self.model_base_path):
            raise InvalidArgument(f"--model_base_path must be an absolute path. Received: {self.model_base_path}")
        if self.port is None and self.rest_api_port is None and not self.grpc_socket_path and not self.check:
            raise InvalidArgument("with both ports off there is nothing to serve on")
        if not self.bind_addresses:
            raise InvalidArgument("--bind_address must name an address, such as 127.0.0.1. Received none.")

    def _require_ranges(self) -> None:
        for name in ("grpc_max_threads", "rest_api_num_threads", "rest_api_timeout_in_ms", "max_request_bytes"):
            _require_at_least(self, name, 1)
        for name in ("drain_seconds", "max_requests_per_second", "max_request_burst", "max_concurrent_requests"):
            _require_at_least(self, name, 0)
        for name in ("max_image_pixels", "max_num_load_retries", "num_request_iterations_for_warmup"):
            _require_at_least(self, name, 0)
        _require_one_of(self, "grpc_transport", ("auto", "grpcio", "http2"))
        _require_one_of(self, "log_format", ("auto", "text", "json"))
        _require_one_of(self, "log_requests", ("all", "errors", "none"))
        _require_one_of(self, "mixed_precision", ("", "bfloat16"))

    def _require_agreement(self) -> None:
        if self.use_alts_credentials:
            both = "Cannot set both use_alts_credentials and ssl_config_file. " if self.ssl_config_file else ""
            raise InvalidArgument(
                f"{both}--use_alts_credentials: ALTS needs Google's machines. Use --ssl_config_file for TLS."
            )
        if self.batching_parameters_file and not self.enable_batching:
            raise InvalidArgument(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true. "
                "Pass --enable_batching too."
            )
        pools = ("session", "intra_op", "inter_op")
        if all(getattr(self, f"tensorflow_{pool}_parallelism") > 0 for pool in pools):
            raise InvalidArgument(
                "Set either --tensorflow_session_parallelism, or --tensorflow_intra_op_parallelism and "
                "--tensorflow_inter_op_parallelism. Received all three."
            )
        if self.rest_api_ssl and not self.ssl_config_file:
            raise InvalidArgument("--rest_api_ssl needs the keys of --ssl_config_file=FILE. Received none.")
        if self.max_request_burst and not self.max_requests_per_second:
            raise InvalidArgument("--max_request_burst needs --max_requests_per_second. Received none.")
        _ = self.channel_arguments


def _is_absolute(path: str) -> bool:
    return Path(path).is_absolute() or "://" in path


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _channel_argument(text: str) -> tuple[str, int | str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidArgument(f"--grpc_channel_arguments must be NAME=VALUE,NAME=VALUE. Received: {text}")
    try:
        number = int(value)
    except ValueError:
        return name, value
    return name, number if -(2**31) <= number < 2**31 else value


def _require_at_least(flags: Flags, name: str, least: int) -> None:
    value = getattr(flags, name)
    if not value >= least:  # NaN is refused as well
        raise InvalidArgument(f"--{name} must be {least} or more. Received: {value}")


def _require_one_of(flags: Flags, name: str, choices: Sequence[str]) -> None:
    value = getattr(flags, name)
    if value not in choices:
        expected = " or ".join(choice or "empty" for choice in choices)
        raise InvalidArgument(f"--{name} must be {expected}. Received: {value}")
