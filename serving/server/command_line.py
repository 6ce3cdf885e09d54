"""Command line arguments to `Flags`, and the help.

There are two faces. `parse` is for people: `cnn-tf serve models/ --port=8600`. `parse_original` is for scripts that start
`tensorflow_model_server`, and does with each argument what that does.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from serving.errors import InvalidArgument, ServingError
from serving.server.flags import Flags, Port

_log = logging.getLogger(__name__)

WIDTH = 80
_INDENT = 36

DESCRIPTION = """\
Serve SavedModels over gRPC and REST, as tensorflow_model_server does.

Flags are tensorflow_model_server's and a few more; here with their defaults, or
in capitals where there is none. Write --name=value; --name alone means true.
"""

EXAMPLES = """\
Ports are open once the models are loaded. SIGTERM or Ctrl-C: finishes the
requests under way and stops; Ctrl-C again: stops at once. Exit codes: 0
stopped, 1 failed, or --check found a problem, 2 wrong use.

examples:
  {prog} models/
      every model folder below models/; gRPC 8500, REST 8501
  {prog} models/ --port=auto --rest_api_port=auto
      on free ports; the first line of output names them
  {prog} --model_name=mnist --model_base_path=/srv/mnist
  {prog} --model_config_file=/srv/models.config --check
  {prog} models/ --bind_address=0.0.0.0 \\
      --ssl_config_file=ssl.config --rest_api_ssl \\
      --auth_token_file=tokens.txt --max_requests_per_second=50
"""

# What tensorflow_model_server does where a person's server is more careful.
ORIGINAL_DEFAULTS: Mapping[str, Any] = {"bind_address": "0.0.0.0", "live": False, "max_image_pixels": 0}

FLAGS: Mapping[str, dataclasses.Field[Any]] = {
    field.name: field for field in dataclasses.fields(Flags) if field.metadata
}
TYPES: Mapping[str, Any] = typing.get_type_hints(Flags)


def parse(arguments: Sequence[str], prog: str = "python -m serving.server") -> Flags:
    """Flags from a person's arguments. Ends the process with 0 after the help, with 2 on wrong use."""
    if {"--help", "-h"} & set(arguments):
        sys.stdout.write(usage(prog))
        sys.exit(0)
    try:
        values, unknown = _read(_joined(arguments))
        models = [argument for argument in unknown if not argument.startswith("-")]
        flags = [argument for argument in unknown if argument.startswith("-")]
        if flags:  # ignored as by the original, a mistyped --auth_token_file would serve to everyone
            raise InvalidArgument(f"unknown argument {flags[0]}.{_way_out(flags[0])}")
        if len(models) > 1:
            raise InvalidArgument(f"expected one folder of models. Received another argument: {models[1]}")
        if models:
            values = {"rest_api_port": 8501, "models": Path(models[0]), **values}
        return _without_clash(Flags(**values))
    except InvalidArgument as error:
        sys.stderr.write(f"usage: {prog} [models/] [--flag=value ...]; all of it: {prog} --help\n")
        sys.stderr.write(f"{prog}: error: {error.message}\n")
        sys.exit(2)


def parse_original(arguments: Sequence[str], prog: str = "tensorflow_model_server") -> Flags:
    """Flags as tensorflow_model_server takes them. Ends the process with 255 for a value that is none, and for --help.

    What it does not know it reports, and goes on. Raises InvalidArgument for what it would refuse when it starts.
    """
    try:
        values, unknown = _read(arguments)
    except InvalidArgument as error:
        _log.error(error.message)
        unknown = ["--help"]
    if "--help" in unknown:
        sys.stdout.write(original_usage(prog))
        sys.exit(255)
    if unknown:
        sys.stdout.write(f"unknown argument: {unknown[0]}\n{original_usage(prog)}")
        for argument in unknown:
            _log.warning("Unknown argument %s is ignored.%s", argument, _way_out(argument))
    flags = {**ORIGINAL_DEFAULTS, **values}
    if not flags.get("version"):
        _require_what_the_original_does(flags)
    return _without_clash(Flags(**flags))


def _require_what_the_original_does(values: Mapping[str, Any]) -> None:
    if values.get("port", 8500) is None and not values.get("grpc_socket_path"):
        raise InvalidArgument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if not (values.get("model_base_path") or values.get("model_config_file")):
        raise InvalidArgument("Both server_options.model_base_path and server_options.model_config_file are empty!")


def failed_to_start(error: ServingError) -> str:
    """The line with which tensorflow_model_server ends when it cannot start."""
    return f"Failed to start server. Error: {error.code.name}: {error.message}\n"


def _without_clash(flags: Flags) -> Flags:
    if not flags.rest_api_port or flags.rest_api_port != flags.port:
        return flags
    _log.error(
        "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
        "Skipped exporting HTTP/REST API."
    )
    return dataclasses.replace(flags, rest_api_port=None)


def _joined(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments with `--name value` written `--name=value`, for flags that need a value. Raises InvalidArgument."""
    rest = iter(arguments)
    for argument in rest:
        name = argument.removeprefix("--")
        if name == argument or name not in FLAGS or TYPES[name] is bool:
            yield argument
            continue
        value = next(rest, None)
        if value is None or value.startswith("--"):
            raise InvalidArgument(f"{argument} needs a value: {argument}={_placeholder(name)}")
        yield f"{argument}={value}"


def _read(arguments: Sequence[str] | Iterator[str]) -> tuple[dict[str, Any], list[str]]:
    """Values by flag, and the arguments that are none. Raises InvalidArgument for a value that cannot be read."""
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in FLAGS or not (equals or TYPES[name] is bool):
            unknown.append(argument)
            continue
        try:
            values[name] = PARSERS[TYPES[name]](text if equals else "true")
        except ValueError as error:
            raise InvalidArgument(f"argument --{name}: {error}. Received: {text}") from None
    return values, unknown


def _way_out(argument: str) -> str:
    """What was probably meant by an argument that is none."""
    name = argument.lstrip("-").partition("=")[0]
    if name in FLAGS:
        return f" Write --{name}={_placeholder(name)}"
    near = difflib.get_close_matches(name, FLAGS, n=1)
    return f" Did you mean --{near[0]}?" if near else ""


def _port(text: str) -> Port:
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError("a port is 0 to 65535 or auto")
    return int(text) or None


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _integer(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,19}", text):
        raise ValueError("expected an integer")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("expected a number") from None


def _path(text: str) -> Path | None:
    return Path(text) if text else None


PARSERS: Mapping[Any, Callable[[str], Any]] = {
    Port: _port, bool: _boolean, int: _integer, float: _number, str: str, Path | None: _path,
}  # fmt: skip

# As TensorFlow's flags call their types.
_TYPE_NAMES: Mapping[Any, str] = {Port: "int32", bool: "bool", int: "int64", float: "float"}


def usage(prog: str) -> str:
    """The help for people, grouped, at most 80 columns wide."""
    lines = [f"usage: {prog} [models/] [--flag=value ...]", "", *DESCRIPTION.splitlines()]
    group = None
    for field in FLAGS.values():
        if field.metadata["group"] != group:
            group = field.metadata["group"]
            lines += ["", f"{group}:"]
            if field.name == "model_name":
                lines += _row("models/", "folder of models: NAME/VERSION/saved_model.pb below it")
        lines += _row(_written(field), field.metadata["help"])
    return "\n".join([*lines, "", EXAMPLES.format(prog=prog)])


def _row(left: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, WIDTH - _INDENT)
    if len(left) <= _INDENT - 4:
        return [f"  {left:{_INDENT - 2}}{wrapped[0]}", *(" " * _INDENT + line for line in wrapped[1:])]
    return [f"  {left}", *(" " * _INDENT + line for line in wrapped)]


def _written(field: dataclasses.Field[Any]) -> str:
    if field.default is False:
        return f"--{field.name}"
    return f"--{field.name}={_default(field) or _placeholder(field.name)}"


def _default(field: dataclasses.Field[Any], changed: Mapping[str, Any] = MappingProxyType({})) -> str:
    """As it is written on the command line; "" if there is none."""
    value = changed.get(field.name, field.default)
    if value is None:
        return "0" if TYPES[field.name] == Port else ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _placeholder(name: str) -> str:
    return {Path | None: "FILE", str: "TEXT", bool: "true"}.get(TYPES[name], "N")


def original_usage(prog: str) -> str:
    """The help in the form of TensorFlow's flags: name and default, type, text, between tabs."""
    lines = [f"usage: {prog}", "Flags:"]
    for field in FLAGS.values():
        written = f"--{field.name}={_default(field, ORIGINAL_DEFAULTS)}"
        kind = _TYPE_NAMES.get(TYPES[field.name], "string")
        lines.append(f"\t{written:<33}\t{kind}\t{field.metadata['help']}")
    return "\n".join([*lines, ""])
