"""Runs a server until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Before TensorFlow is imported: its start-up notes about GPUs and instruction sets are not for users of a server.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# And before gRPC is: it writes what it also raises.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from serving import errors
from serving.server import flags as flag_parser
from serving.server.flags import Flags

if TYPE_CHECKING:
    from serving.server.config import ModelConfig


def main(arguments: Sequence[str] | None = None, prog: str = "python -m serving.server") -> int:
    """Serves as the command line says; returns the exit code: 0 stopped, 1 failed (2 for wrong use is argparse's)."""
    return run(parse(sys.argv[1:] if arguments is None else arguments, prog))


def parse(arguments: Sequence[str], prog: str) -> Flags:
    """Sets logging up and reads the command line; imports no TensorFlow."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    return flag_parser.parse(arguments, prog)


def run(flags: Flags) -> int:
    """Serves until SIGTERM or Ctrl-C; returns the exit code."""
    try:
        models = _models(flags)
    except errors.InvalidArgument as error:
        return _failed(error, 2)
    try:
        return _serve(flags, models)
    except errors.ServingError as error:
        return _failed(error, 1)


def _failed(error: errors.ServingError, exit_code: int) -> int:
    print(f"Error: {error.message}", file=sys.stderr)
    return exit_code


def _serve(flags: Flags, models: list[ModelConfig]) -> int:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    # Imported late, so that --help, wrong flags and wrong paths are answered at once.
    from serving.server.server import ModelServer

    for library in ("tensorflow", "uvicorn"):
        logging.getLogger(library).setLevel(logging.ERROR)
    server = ModelServer(
        models,
        host=flags.bind_address,
        port=flags.port,
        rest_port=flags.rest_api_port,
        batching=flags.enable_batching,
        poll_seconds=flags.poll_seconds,
    )
    starting = threading.Thread(target=server.start, name="start", daemon=True)
    starting.start()
    while starting.is_alive() and not stopping.is_set():
        starting.join(0.1)
    if not stopping.is_set():
        # The line that people, the demo and tests wait for.
        rest = f"http://{server.rest_address}/v1/models/" if server.rest_address else "off"
        print(f"Ready. gRPC: {server.grpc_address or 'off'}  REST: {rest}", flush=True)
        stopping.wait()
    logging.info("Stopping: finishing the requests under way")
    if not server.stop(flags.grace_seconds):
        logging.error("Abandoning requests that take longer than --drain_seconds=%g", flags.grace_seconds)
        os._exit(1)  # their threads cannot be ended otherwise
    logging.info("Stopped")
    return 0


def _models(flags: Flags) -> list[ModelConfig]:
    from serving.server import config

    if flags.model_config_file:
        return config.from_file(flags.model_config_file)
    if flags.model_base_path:
        return [config.ModelConfig(flags.model_name, flags.model_base_path)]
    return config.from_folder(flags.models or Path("models"))
