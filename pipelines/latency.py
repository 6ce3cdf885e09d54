"""How long two versions of a model take for the same pictures, on this machine.

A machine's speed changes from one second to the next, with whatever else it does. So the two run in turns, many times, and
each turn is compared for itself: on a busy machine the median of the turns' ratios varies a quarter as much as the ratio of
the medians does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tensorflow as tf

from pipelines import warmup
from pipelines.errors import ReleaseRefused
from pipelines.warmup import Inputs

SIGNATURE = "serving_default"
TURNS = 300
# Of slow models fewer turns are enough, since noise is small beside what they take.
SECONDS, LEAST_TURNS = 10.0, 5
# The first runs of a graph optimise it.
WARM_RUNS = 3
WAY_OUT = "Promote without --max-slowdown, or with --force."

Run = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """Milliseconds that a version and the stable one take, and how many times as long it takes; all are medians."""

    version: str
    ms: float
    stable: str
    stable_ms: float
    ratio: float

    def __str__(self) -> str:
        return (
            f"The same pictures take version {self.version} {self.ms:,.2f} ms and the stable version {self.stable} "
            f"{self.stable_ms:,.2f} ms, {self.ratio:.2f} times as long in the median turn."
        )


def compare(version: Path, stable: Path) -> Comparison:
    """Runs both on the warm-up requests of the version in the folder `version` for serving_default.

    Raises ReleaseRefused if there are none, or one of the versions does not answer them; DataDamaged.
    """
    requests = warmup.read(version, SIGNATURE)
    if not requests:
        raise ReleaseRefused(
            f"{version} has no warm-up requests for {SIGNATURE}, on which its speed could be measured. Expected them in "
            f"{warmup.FILE}, where cnn-tf export writes them. {WAY_OUT}"
        )
    times, stable_times = _in_turns(_load(version, requests), _load(stable, requests))
    ratio = median(mine / its for mine, its in zip(times, stable_times, strict=True))
    return Comparison(version.name, median(times) * 1e3, stable.name, median(stable_times) * 1e3, ratio)


def _load(folder: Path, requests: list[Inputs]) -> Run:
    """What answers `requests` once, with the version in `folder`, and is warm."""
    try:
        loaded = tf.saved_model.load(str(folder))
        if SIGNATURE not in loaded.signatures:
            raise ReleaseRefused(f"{folder} has no signature {SIGNATURE}, so its speed cannot be measured. {WAY_OUT}")
        _require_inputs(folder, loaded.signatures[SIGNATURE].structured_input_signature[1], requests)

        def run() -> object:
            # A signature alone does not keep its variables. An answer is there when it can be read.
            answers = [loaded.signatures[SIGNATURE](**inputs) for inputs in requests]
            return [output.numpy() for answer in answers for output in answer.values()]

        for _ in range(WARM_RUNS):
            run()
    except (OSError, tf.errors.OpError) as error:
        reason = " ".join(str(getattr(error, "message", error)).split()).rstrip(".")
        raise ReleaseRefused(
            f"{folder} does not answer, so its speed cannot be measured: {reason}. {WAY_OUT}"
        ) from error
    return run


def _require_inputs(folder: Path, specs: dict[str, tf.TensorSpec], requests: list[Inputs]) -> None:
    for inputs in requests:
        if specs.keys() != inputs.keys() or not all(specs[key].is_compatible_with(inputs[key]) for key in specs):
            given = {key: tf.TensorSpec.from_tensor(tensor) for key, tensor in inputs.items()}
            raise ReleaseRefused(
                f"The versions take different pictures, so their speeds cannot be compared: {folder} takes {_told(specs)}, "
                f"the warm-up requests have {_told(given)}. {WAY_OUT}"
            )


def _told(specs: dict[str, tf.TensorSpec]) -> str:
    return ", ".join(f"{key} {spec.dtype.name} {spec.shape}" for key, spec in sorted(specs.items()))


def _in_turns(*runs: Run) -> tuple[list[float], ...]:
    """Seconds of each run."""
    times: tuple[list[float], ...] = tuple([] for _ in runs)
    end = time.perf_counter() + SECONDS
    for turn in range(TURNS):
        if turn >= LEAST_TURNS and time.perf_counter() > end:
            break
        # Who begins changes, as the second may find caches cold that the first has filled.
        for run, seconds in list(zip(runs, times, strict=True))[:: -1 if turn % 2 else 1]:
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
    return times
