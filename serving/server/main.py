"""Runs a server until SIGTERM or Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

# Before TensorFlow is imported: its start-up notes about GPUs and instruction sets are not for users of a server.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# So that the threads within an operation can be chosen for each model.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
# And before gRPC is: it writes what it also raises.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from serving import errors
from serving.server import command_line, imports, live, logs, memory
from serving.server.flags import Flags
from serving.server.security import gate, tls
from serving.server.stopping import StopRequest

if TYPE_CHECKING:
    from serving.server.config import ModelConfig
    from serving.server.server import ModelServer

# The release of TensorFlow Serving whose behaviour this server has.
BEHAVES_AS = "2.20.0"

Failed = Callable[[errors.ServingError, int], int]
"""Tells why the server does not run; returns the exit code, which is the one given unless it has its own."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m serving.server") -> int:
    """Serves as the command line says; returns the exit code: 0 stopped, 1 failed, 2 wrong use, 130 interrupted."""
    flags = parse(sys.argv[1:] if arguments is None else arguments, prog)
    try:
        return run(flags)
    except KeyboardInterrupt:  # before the server has a handler of its own
        return 130


def tensorflow_model_server() -> int:
    """The same for scripts that start `tensorflow_model_server`: its defaults, its exit codes."""
    logs.configure()
    try:
        flags = command_line.parse_original(sys.argv[1:])
    except errors.InvalidArgument as error:
        return _failed_as_the_original(error, 2)
    return run(flags, _failed_as_the_original)


def parse(arguments: Sequence[str], prog: str) -> Flags:
    """Sets logging up and reads the command line; imports no TensorFlow."""
    logs.configure()
    return command_line.parse(arguments, prog)


def _failed(error: errors.ServingError, exit_code: int) -> int:
    print(f"Error: {error.message}", file=sys.stderr)
    return exit_code


def _failed_as_the_original(error: errors.ServingError, exit_code: int) -> int:
    print(f"{error.code.name}: {error.message}", file=sys.stderr)
    print(command_line.failed_to_start(error), end="", flush=True)
    return 255


def run(flags: Flags, failed: Failed = _failed) -> int:
    """Serves until SIGTERM or Ctrl-C; returns the exit code."""
    if flags.version:
        print(f"TensorFlow ModelServer: {BEHAVES_AS}+cnn-tf.{metadata.version('cnn-tf')}")
        print(f"TensorFlow Library: {metadata.version('tensorflow')}")
        return 0
    logs.configure(flags.log_format)
    flags.warn_of_what_is_ignored()
    try:
        if flags.ssl_config_file:
            tls.read(flags.ssl_config_file)
        gate.from_flags(flags)
        models = _models(flags)
        return _check(flags, models) if flags.check else _serve(flags, models)
    except errors.InvalidArgument as error:
        return failed(error, 1 if flags.check else 2)
    except errors.ServingError as error:
        return failed(error, 1)


def _serve(flags: Flags, models: list[ModelConfig]) -> int:
    stop = StopRequest()
    with live.busy("Loading the models"):
        server = _loaded(flags, models, stop)
    if server is None:
        logging.info("Stopped before the models were loaded")
        _end_what_loads()
    server.open()
    _announce(server, flags)
    with _shown(server, flags):
        stop.wait()
    logging.info("Stopping: finishing the requests under way; Ctrl-C ends at once")
    if not server.stop(flags.drain_seconds):
        logging.error("Abandoning requests that take longer than --drain_seconds=%g", flags.drain_seconds)
        os._exit(1)  # their threads cannot be ended otherwise
    logging.info("Stopped")
    if server.is_loading:
        _end_what_loads()
    return 0


def _end_what_loads() -> NoReturn:
    """Ends the process, and with it the thread that loads a version: it cannot be ended otherwise."""
    logging.shutdown()
    os._exit(0)


def _loaded(flags: Flags, models: list[ModelConfig], stop: StopRequest) -> ModelServer | None:
    """A server with its models; None if told to stop meanwhile. Raises ServingError."""
    servers: list[ModelServer] = []
    failures: list[Exception] = []

    def load() -> None:
        try:
            server = _server(flags, models)
            server.load()
            servers.append(server)
        except Exception as error:
            failures.append(error)

    # Beside this thread, so that it hears of signals: to import TensorFlow takes seconds already.
    loading = threading.Thread(target=load, name="load", daemon=True)
    loading.start()
    while loading.is_alive() and not stop.is_made():
        loading.join(0.1)
    if failures:
        raise failures[0]
    return None if stop.is_made() else servers[0]


def _announce(server: ModelServer, flags: Flags) -> None:
    """The line that people, the demo and tests wait for."""
    grpc = server.grpc_addresses[0] if server.grpc_addresses else "off"
    rest = f"{_scheme(flags)}://{server.rest_addresses[0]}/v1/models/" if server.rest_addresses else "off"
    print(f"Ready. gRPC: {grpc}  REST: {rest}", flush=True)


def _scheme(flags: Flags) -> str:
    return "https" if flags.rest_api_ssl else "http"


def _shown(server: ModelServer, flags: Flags) -> contextlib.AbstractContextManager[None]:
    """What goes on, on the terminal if there is one."""
    if not flags.live:
        return contextlib.nullcontext()
    rest = f"{_scheme(flags)}://{server.rest_addresses[0]}" if server.rest_addresses else None
    addresses = live.Addresses(server.grpc_addresses[0] if server.grpc_addresses else None, rest)
    return live.shown(server.snapshot, addresses)


def _server(flags: Flags, models: list[ModelConfig]) -> ModelServer:
    # Imported late, so that --help, wrong flags and wrong paths are answered at once.
    imports.tensorflow()
    with memory.importing():
        from serving.server import tracing
        from serving.server.server import ModelServer

    return ModelServer(flags, models, tracing.start(wanted=flags.trace_requests))


def _check(flags: Flags, models: list[ModelConfig]) -> int:
    with live.busy("Loading the models"):
        imports.tensorflow()
        from serving.server import check
        from serving.server.loading import Loader
        from serving.server.metrics import Metrics, config

        config.page_path(flags.monitoring_config_file)
        loader = Loader(flags, Metrics())
    return check.check(models, loader)


def _models(flags: Flags) -> list[ModelConfig]:
    from serving.server import config

    if flags.model_config_file:
        return config.from_file(flags.model_config_file)
    if flags.models:
        return config.from_folder(flags.models)
    return [config.ModelConfig(flags.model_name, Path(flags.model_base_path))]
