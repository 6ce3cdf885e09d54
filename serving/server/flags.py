"""The command line of the server: `tensorflow_model_server`'s flags, and a few of our own."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

EPILOG = """\
examples:
  %(prog)s models/                                 every model folder below models/, gRPC 8500, REST 8501
  %(prog)s models/ --port=auto --rest_api_port=auto   on free ports; the first line of output names them
  %(prog)s --model_name=fashion_mnist --model_base_path=/srv/models/fashion_mnist
  %(prog)s --model_config_file=/srv/models/models.config --enable_batching

Flags are tensorflow_model_server's; those that are not known here are named in a warning and ignored, as it does.
Ports are open once the models are loaded. SIGTERM or Ctrl-C: finishes the requests under way and stops.
"""


@dataclass(frozen=True)
class Flags:
    """How to serve. A port of None is off, 0 means any free one; poll_seconds of None: look for versions once."""

    models: Path | None
    model_config_file: Path | None
    model_name: str
    model_base_path: Path | None
    bind_address: str
    port: int | None
    rest_api_port: int | None
    enable_batching: bool
    poll_seconds: float | None
    grace_seconds: float


def parse(arguments: Sequence[str], prog: str = "python -m serving.server") -> Flags:
    """Flags from command line arguments. Exits with 2 on wrong use, as argparse does."""
    parser = _parser(prog)
    known, unknown = parser.parse_known_args(arguments)
    if extra := [argument for argument in unknown if not argument.startswith("--")]:
        parser.error(f"unexpected argument: {extra[0]}")
    for flag in unknown:
        _log.warning("Unknown flag %s is ignored", flag.partition("=")[0])
    sources = [known.models, known.model_config_file, known.model_base_path]
    if sum(source is not None for source in sources) == 0:
        parser.error("say what to serve: a folder of models, or --model_base_path=FOLDER, or --model_config_file=FILE")
    if known.models and any(sources[1:]):
        parser.error("pass either a folder of models, or --model_config_file / --model_base_path")
    if known.model_base_path and not known.model_base_path.is_absolute() and "://" not in str(known.model_base_path):
        parser.error(f"--model_base_path must be an absolute path. Received: {known.model_base_path}")
    if known.port is None and known.rest_api_port is None:
        parser.error("with both ports off there is nothing to serve on")
    poll = known.file_system_poll_wait_seconds
    return Flags(
        models=known.models,
        model_config_file=known.model_config_file,
        model_name=known.model_name,
        model_base_path=known.model_base_path,
        bind_address=known.bind_address,
        port=known.port,
        rest_api_port=known.rest_api_port if known.rest_api_port != -1 else (8501 if known.models else None),
        enable_batching=known.enable_batching,
        poll_seconds=poll if poll > 0 else None,
        grace_seconds=known.drain_seconds,
    )


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve SavedModels over gRPC and REST, as tensorflow_model_server does.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("models", nargs="?", type=Path, help="folder of models: NAME/VERSION/saved_model.pb below it")
    add("--port", type=_port, default=8500, help="gRPC port; 0: off, auto: a free one (default: 8500)")
    add(
        "--rest_api_port",
        type=_port,
        default=-1,
        help="REST port; 0: off, auto: a free one (default: 8501 for a folder of models, else off)",
    )
    add("--model_name", default="default", help="name of the model at --model_base_path (default: default)")
    add("--model_base_path", type=Path, help="folder that holds the version folders of one model")
    add("--model_config_file", type=Path, help="text file with a ModelServerConfig: several models, version policies")
    add("--enable_batching", type=_boolean, nargs="?", const=True, default=False, help="join concurrent requests")
    add(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        help="how often to look for new versions; 0 or less: only at the start (default: 1)",
    )
    add(
        "--bind_address",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0: all interfaces (default: 127.0.0.1, this machine only)",
    )
    add(
        "--drain_seconds",
        type=float,
        default=8.0,
        help="how long to finish requests when stopped (default: 8; docker stop kills after 10)",
    )
    return parser


def _port(text: str) -> int | None:
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535 or auto. Received: {text}")
    return int(text) or None


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false. Received: {text}") from None
