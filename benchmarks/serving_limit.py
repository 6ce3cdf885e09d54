"""What TensorFlow does in one process without a server: pictures a second of a SavedModel's signature, on all cores.

python -m benchmarks.serving_limit VERSION_FOLDER MODEL MODE SECONDS        prints one line of JSON

Modes: `plain` calls the signature as `tf.saved_model.load` gives it; `frozen` makes constants of its variables first;
`bfloat16` is frozen with TensorFlow's own rewrite to bfloat16.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_models import INPUT, OUTPUT, picture

BATCHES = (1, 8, 32, 64)


def measure(version: Path, name: str, mode: str, seconds: float) -> dict[str, Any]:
    """In a process of its own: "rate" images/s at the best "batch", "lone" ms of one picture, "answer" to it."""
    command = [sys.executable, "-m", "benchmarks.serving_limit", str(version), name, mode, str(seconds)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(told.splitlines()[-1]))


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


def _main(version: str, name: str, mode: str, seconds: float) -> None:
    import tensorflow as tf

    call = _signature(version, mode)
    rates, lone = {}, 0.0
    for batch in BATCHES:
        images = tf.constant(np.repeat(picture(name), batch, axis=0))
        for _ in range(3):
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
    print(json.dumps({"rate": rates[best], "batch": best, "lone": lone, "answer": answer.tolist()}))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
