"""What TensorFlow does in one process without a server: pictures a second of a SavedModel's signature, on all cores.

python -m benchmarks.serving_limit VERSION_FOLDER MODEL MODE

For each line of its input it prints a line of JSON: for a number of seconds, how fast it is; for "SECONDS even|random RATE",
how long pictures take that are due at such times, so many a second. Modes: `plain` calls the signature as `tf.saved_model.load`
gives it; `frozen` makes constants of its variables first; `bfloat16` is frozen with TensorFlow's own rewrite to bfloat16.
"""

from __future__ import annotations

import bisect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.open_loop import due_times
from benchmarks.serving_models import INPUT, OUTPUT, picture

BATCHES = (1, 8, 32, 64)
# So many pictures that are due are answered together.
MOST_DUE = 32


class Limit:
    """A process of its own that has loaded the model, and waits."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def measure(self, seconds: float) -> dict[str, Any]:
        """Has "rate" images/s at the best "batch", "rates" of each batch, "lone" ms of one picture, "answer" to it."""
        told = self._ask(str(seconds))
        return {**told, "rates": {int(batch): rate for batch, rate in told["rates"].items()}}

    def at_times(self, kind: str, rate: float, seconds: float) -> list[float]:
        """Milliseconds from when each picture was due until it was answered; those that are due are answered together."""
        return list(self._ask(f"{seconds} {kind} {rate}")["times"])

    def _ask(self, line: str) -> dict[str, Any]:
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            raise RuntimeError(f"the limit's process ended with {self._process.wait()}")
        return dict(json.loads(answer))


@contextmanager
def running(version: Path, name: str, mode: str) -> Iterator[Limit]:
    command = [sys.executable, "-m", "benchmarks.serving_limit", str(version), name, mode]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield Limit(process)
        finally:
            process.kill()


def measure(version: Path, name: str, mode: str, seconds: float) -> dict[str, Any]:
    """What a process that is started for it tells."""
    with running(version, name, mode) as limit:
        return limit.measure(seconds)


def _signature(version: str, mode: str) -> Callable[[Any], Any]:
    """Tensor (B, H, W, C) -> tensor (B, classes)."""
    import tensorflow as tf

    if mode == "bfloat16":
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    loaded = tf.saved_model.load(version)
    signature = loaded.signatures["serving_default"]
    if mode == "plain":
        return lambda images: (signature(**{INPUT: images}), loaded)[0][OUTPUT]
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(signature)
    # Called directly it would cost milliseconds each time; inside a function of its own it does not.
    spec = tf.TensorSpec(frozen.inputs[0].shape, frozen.inputs[0].dtype)
    return tf.function(lambda images: frozen(images)[0], input_signature=[spec]).get_concrete_function()


def _measure(call: Callable[[Any], Any], name: str, seconds: float) -> dict[str, Any]:
    import tensorflow as tf

    rates, lone = {}, 0.0
    for batch in BATCHES:
        images = tf.constant(np.repeat(picture(name), batch, axis=0))
        for _ in range(2):
            call(images).numpy()
        times, end = [], time.perf_counter() + seconds / len(BATCHES)
        while time.perf_counter() < end or len(times) < 3:
            begin = time.perf_counter()
            call(images).numpy()
            times.append(time.perf_counter() - begin)
        rates[batch] = batch * len(times) / sum(times)
        lone = statistics.median(times) * 1000 if batch == 1 else lone
    best = max(rates, key=lambda batch: rates[batch])
    answer = call(tf.constant(picture(name))).numpy()[0]
    return {"rate": rates[best], "batch": best, "rates": rates, "lone": lone, "answer": answer.tolist()}


def _at_times(call: Callable[[Any], Any], name: str, due: Sequence[float]) -> list[float]:
    import tensorflow as tf

    batches = [tf.constant(np.repeat(picture(name), size, axis=0)) for size in range(1, MOST_DUE + 1)]
    for images in batches:
        call(images).numpy()
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < len(due):
        now = time.perf_counter() - begin
        waiting = bisect.bisect(due, now) - len(found)
        if not waiting:
            time.sleep(due[len(found)] - now)
            continue
        images = batches[min(waiting, MOST_DUE) - 1]
        call(images).numpy()
        done = time.perf_counter() - begin
        found += [1000 * (done - since) for since in due[len(found) : len(found) + len(images)]]
    return found


def _main(version: str, name: str, mode: str) -> None:
    call = _signature(version, mode)
    for line in sys.stdin:
        seconds, *times = line.split()
        if times:
            kind, rate = times
            told: dict[str, Any] = {"times": _at_times(call, name, due_times(kind, float(rate), float(seconds)))}
        else:
            told = _measure(call, name, float(seconds))
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _main(*sys.argv[1:])
