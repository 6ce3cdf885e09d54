"""What the server's engine makes of a model, beside TensorFlow itself: `python -m benchmarks.engine`.

Speed: milliseconds of CPU and pictures a second, of the signature that `tf.saved_model.load` returns, of a session on the graph
as loaded, and of the engine. Start: seconds and memory from nothing to the first answer, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

MODELS = {"lenet5": ((28, 28, 1), 10), "resnet18": ((224, 224, 3), 1000)}
BATCHES = (1, 8, 32)
SECONDS = 1.0
ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, (shape, classes) in MODELS.items():
            _in_process("export", name, folder, *map(str, shape), str(classes))
        speed = [row for name in MODELS for row in _in_process("speed", str(Path(folder) / name))]
        start = [row for name in MODELS for row in _starts(Path(folder) / name)]
    print(report.write("engine", "CPU per picture, relative to plain TensorFlow", speed))
    print(report.write("engine_start", "From nothing to the first answer", start))


def _starts(path: Path) -> list[dict[str, object]]:
    """Medians of processes that take turns."""
    kinds = ("plain", "engine")
    runs = [{kind: _in_process("start", str(path), kind) for kind in kinds} for _ in range(ROUNDS)]
    medians = {k: {key: float(np.median([run[k][key] for run in runs])) for key in runs[0][k]} for k in kinds}
    plain, engine = medians["plain"], medians["engine"]
    ratios = {f"{key}, ratio": round(engine[key] / plain[key], 2) for key in plain}
    values = {f"{key}, {kind}": round(medians[kind][key], 2) for key in plain for kind in kinds}
    return [{"model": path.name, **values, **ratios}]


def _in_process(*arguments: str) -> Any:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.engine", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def export(name: str, folder: str, *numbers: str) -> None:
    """Writes a network with statistics of batch normalization as training leaves them: none of them 0 or 1."""
    import keras

    import cnn_tf

    *shape, classes = map(int, numbers)
    model = cnn_tf.build(name, input_shape=tuple(shape), num_classes=classes)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in layer.get_weights()])
    model.export(f"{folder}/{name}", verbose=False)
    print(json.dumps("written"))


def speed(path: str) -> None:
    from serving.server.engine import EngineOptions, load, loading, probe, sessions

    options = EngineOptions()
    engines = {
        "engine": load(Path(path), options),
        "bfloat16": load(Path(path), EngineOptions(mixed_precision="bfloat16")),
    }
    signature = engines["engine"].signatures["serving_default"]
    ends = probe.feeds(signature), probe.fetches(signature)
    session = loading.load(Path(path), options.tags, sessions.config(options, 0))
    functions = {
        "plain": _plain(path),
        "session": sessions.function(session, *ends),
        **{name: engine.function(*ends) for name, engine in engines.items() if "float32: " not in engine.summary},
    }
    shape = _shape(signature)
    rows = []
    for batch in BATCHES:
        pictures = np.random.default_rng(0).random((batch, *shape)).astype(np.float32)
        measured = _measure(functions, pictures)
        for name, (cpu, best) in measured.items():
            summary = engines[name].summary if name in engines else ""
            rows.append(_row(Path(path).name, batch, name, cpu, best, measured["plain"], summary))
    print(json.dumps(rows))


def _row(
    model: str, batch: int, name: str, cpu: float, best: float, plain: tuple[float, float], summary: str
) -> dict[str, object]:
    return {
        "model": model,
        "batch": batch,
        "how": name,
        "CPU ms a picture": round(1000 * cpu, 3),
        "relative": round(cpu / plain[0], 2),
        "pictures/s at best": round(1 / best, 1),
        "relative speed": round(plain[1] / best, 2),
        "what was done": summary,
    }


def _measure(functions: dict[str, Callable[..., Any]], pictures: Any) -> dict[str, tuple[float, float]]:
    """Name -> CPU seconds and best seconds a picture; the functions take turns, so that other load meets all."""
    cpu = dict.fromkeys(functions, 0.0)
    best, count = dict.fromkeys(functions, float("inf")), dict.fromkeys(functions, 0)
    for function in functions.values():
        function(pictures)
    for _ in range(ROUNDS):
        for name, function in functions.items():
            end, before = time.perf_counter() + SECONDS / ROUNDS, time.process_time()
            while time.perf_counter() < end:
                start = time.perf_counter()
                function(pictures)
                best[name] = min(best[name], time.perf_counter() - start)
                count[name] += len(pictures)
            cpu[name] += time.process_time() - before
    return {name: (cpu[name] / count[name], best[name] / len(pictures)) for name in functions}


def start(path: str, kind: str) -> None:
    """Loads a model and calls it once; nothing is imported before that a bare program would not import."""
    began = time.perf_counter()
    if kind == "plain":
        _plain(path)(_picture(path))
    else:
        from serving.server.engine import EngineOptions, load, probe

        engine = load(Path(path), EngineOptions())
        signature = engine.signatures["serving_default"]
        engine.function(probe.feeds(signature), probe.fetches(signature))(_picture(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"s": time.perf_counter() - began, "CPU s": time.process_time(), "peak MiB": peak}))


def _plain(path: str) -> Callable[..., Any]:
    import tensorflow as tf

    # The model keeps the variables that its functions use.
    model = tf.saved_model.load(path)
    function = model.signatures["serving_default"]
    (name,) = function.structured_input_signature[1]

    def call(pictures: Any, model: Any = model) -> list[Any]:
        return [answer.numpy() for answer in function(**{name: tf.constant(pictures)}).values()]

    return call


def _picture(path: str) -> Any:
    return np.zeros((1, *MODELS[Path(path).name][0]), np.float32)


def _shape(signature: Any) -> list[int]:
    (info,) = signature.inputs.values()
    return [dim.size for dim in info.tensor_shape.dim][1:]


if __name__ == "__main__":
    commands = {"export": export, "speed": speed, "start": start}
    if len(sys.argv) > 1:
        commands[sys.argv[1]](*sys.argv[2:])
    else:
        main()
