"""`--check`: loads and tries every model as the server would, opens no port, and tells what is wrong."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving import errors
from serving.server import completeness, live, storage
from serving.server.config import ModelConfig
from serving.wire.tensors import Array


class Loaded(Protocol):
    """What is asked of a servable."""

    @property
    def signatures(self) -> Mapping[str, Any]:
        """By name."""

    def run(self, inputs: Mapping[str, Array], signature_name: str = "", /) -> Mapping[str, Array]:
        """Outputs by name. Raises ServingError."""

    def close(self) -> None:
        """Frees it."""


Load = Callable[[str, int, Path], Loaded]
"""Model name, version, folder -> loaded and warmed-up servable. Raises ServingError."""


@dataclass(frozen=True)
class Finding:
    """What became of one version; `version` is None if the model has none to load."""

    model: str
    version: int | None
    signatures: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


def check(models: Iterable[ModelConfig], load: Load, console: Console | None = None) -> int:
    """Prints a table of all versions that would be served; returns 0 if all are fit, else 1."""
    console, models = console or Console(), list(models)
    with live.busy("Loading the models", console):
        findings = [finding for model in models for finding in examine(model, load)]
    console.print(_table(findings) if findings else "The configuration names no model.")
    for warning in itertools.chain.from_iterable(map(_warnings, models)):
        console.print(escape(warning), style="yellow", soft_wrap=True)
    faults = sum(bool(finding.error) for finding in findings)
    for finding in findings:
        if finding.error:  # in one line, however long: also for programs that read it
            console.print(f"{_name(finding)}: {escape(finding.error)}", style="red", soft_wrap=True)
    console.print(f"{faults} of {len(findings)} cannot be served." if faults else "All good.")
    return 1 if faults else 0


def examine(model: ModelConfig, load: Load) -> Iterator[Finding]:
    """Each version of the model that would be served, the highest first."""
    try:
        disk = storage.scan(model.base_path).versions
    except OSError as error:
        yield Finding(model.name, None, error=f"Could not find base path {model.base_path}: {error.strerror}")
        return
    wanted = sorted(model.policy.wanted(disk), reverse=True)
    if not wanted:
        yield Finding(model.name, None, error=f"No version to serve below {model.base_path}: it holds {_folders(disk)}")
    for number in wanted:
        yield _try(model.name, number, disk[number], load)


def _warnings(model: ModelConfig) -> Sequence[str]:
    """What the server would warn of."""
    try:
        found = storage.scan(model.base_path)
    except OSError:
        return ()  # which is a finding
    return [*model.absent(found.versions), *found.warnings]


def _folders(disk: Mapping[int, Path]) -> str:
    return ", ".join(map(str, sorted(disk))) or "no folder whose name is a number (eg. '/1/')"


def _try(name: str, number: int, path: Path, load: Load) -> Finding:
    begin = time.perf_counter()
    try:
        completeness.check(path)
        servable = load(name, number, path)
    except errors.ServingError as error:
        return Finding(name, number, error=f"{error.code.name}: {error.message}")
    except Exception as error:  # a fault of ours; the others shall be told of nevertheless
        return Finding(name, number, error=f"INTERNAL: {type(error).__name__}: {error}")
    seconds = time.perf_counter() - begin
    signatures = tuple(sorted(key for key in servable.signatures if not key.startswith("__")))
    try:
        return Finding(name, number, signatures, seconds, _run_on_zeros(servable))
    finally:
        servable.close()


def _run_on_zeros(servable: Loaded) -> str:
    """Answers one request of zeros on serving_default, if there is one of numbers; what is wrong, or "".

    An empty string is no picture, so what a model says of it tells nothing.
    """
    signature = servable.signatures.get("serving_default")
    if signature is None:
        return ""
    try:
        inputs = {key: _zeros(info) for key, info in signature.inputs.items()}
        servable.run(inputs, "serving_default")
    except _NotNumbers:
        return ""
    except errors.InvalidArgument:
        return ""  # zeros may be out of the question, such as for a size that is unknown here
    except errors.ServingError as error:
        return f"A request of zeros fails with {error.code.name}: {error.message}"
    return ""


class _NotNumbers(Exception):  # noqa: N818
    """An input takes strings."""


def _zeros(info: Any) -> Array:
    """One example: sizes that the signature leaves open are 1."""
    import tensorflow as tf

    dtype = tf.as_dtype(info.dtype)
    if not dtype.is_numpy_compatible or dtype == tf.string:
        raise _NotNumbers
    sizes = [max(dimension.size, 1) for dimension in info.tensor_shape.dim]
    return np.zeros([] if info.tensor_shape.unknown_rank else sizes, dtype.as_numpy_dtype)


def _name(finding: Finding) -> str:
    return escape(finding.model) + ("" if finding.version is None else f", version {finding.version}")


def _table(findings: Iterable[Finding]) -> Table:
    table = Table("Model", "Version", "State", "Signatures", "Load", box=None, pad_edge=False)
    table.columns[4].justify = "right"
    for finding in findings:
        state = "[red]not fit" if finding.error else "[green]fit to serve"
        version = "-" if finding.version is None else str(finding.version)
        seconds = f"{finding.seconds:.1f} s" if finding.seconds else ""
        table.add_row(escape(finding.model), version, state, escape(", ".join(finding.signatures)), seconds)
    return table
