"""Memory over many version swaps, and what a start costs beside a bare process.

python -m benchmarks.serving_swaps [--swaps 50] [--model resnet18] [--models FOLDER] [--quick]

A swap: a copy of the version is renamed to the next number, and once it serves, the older one is deleted. The start is told
as a ratio to a process that imports TensorFlow, loads the model, and calls it once.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import load, report, serving_hosts, serving_limit, serving_models, versions
from benchmarks.load import Target

BARE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
loaded.signatures["serving_default"](images=tf.constant(np.load(sys.argv[2])))["probabilities"].numpy()
print(int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024, flush=True)
os._exit(0)
"""
POLL = ["--file_system_poll_wait_seconds=0.2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "cnn-tf-serving-models")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.swaps, arguments.rounds = 3, 1
    serving_models.write(arguments.models)
    name = arguments.model
    answer = serving_limit.measure(arguments.models / name / "1", name, "plain", 1)["answer"]
    expected = np.array(answer, np.float32)
    rows = [start_row(arguments.models, name, expected, arguments.rounds)]
    print(report.write(f"serving_start_{name}", f"From exec to the first answer, {name}", rows))
    rows = swap_rows(arguments.models, name, expected, arguments.swaps)
    print(report.write(f"serving_swaps_{name}", f"Memory over version swaps, {name}", rows))


def start_row(models: Path, name: str, expected: np.ndarray, rounds: int) -> dict[str, object]:
    """Medians over rounds, each of which starts both, one after the other."""
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(_start_bare(models / name / "1", name))
        begin = time.perf_counter()
        with serving_hosts.ours(models, name, expected, []) as target:
            ours.append((time.perf_counter() - begin, target.rss()))
    (bare_seconds, bare_rss), (seconds, rss) = (
        [statistics.median(column) for column in zip(*samples, strict=True)] for samples in (bare, ours)
    )
    return {
        "bare, s": f"{bare_seconds:.2f}",
        "cnn-tf, s": f"{seconds:.2f}",
        "ratio of seconds": f"{seconds / bare_seconds:.2f}",
        "bare, MiB": f"{bare_rss:.0f}",
        "cnn-tf, MiB": f"{rss:.0f}",
        "ratio of memory": f"{rss / bare_rss:.2f}",
    }


def _start_bare(version: Path, name: str) -> tuple[float, float]:
    """Seconds from exec to the answer, and MiB then."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, serving_models.picture(name))
        file.flush()
        begin = time.perf_counter()
        command = [sys.executable, "-c", BARE, str(version), file.name]
        told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
        return time.perf_counter() - begin, float(told)


def swap_rows(models: Path, name: str, expected: np.ndarray, swaps: int) -> list[dict[str, object]]:
    """Memory after each swap, while a caller asks without pause between swaps."""
    with tempfile.TemporaryDirectory() as own:
        shutil.copytree(models / name, Path(own) / name)
        with serving_hosts.ours(Path(own), name, expected, POLL) as target:
            load.closed(target, 4, 2)
            rows = [_swap(Path(own) / name, number, target) for number in range(2, swaps + 2)]
    memory = [float(str(row["RSS MiB"])) for row in rows]
    later = memory[len(memory) // 2 :]
    slope = float(np.polyfit(range(len(later)), later, 1)[0]) if len(later) > 1 else 0.0
    print(f"Second half: {slope:+.2f} MiB a swap")
    return [*rows, {"version": "second half, a swap", "RSS MiB": f"{slope:+.2f}", "swap, s": ""}]


def _swap(base: Path, number: int, target: Target) -> dict[str, object]:
    begin = time.perf_counter()
    versions.publish(base, number)
    versions.wait_available(target.address, base.name, number)
    seconds = time.perf_counter() - begin
    versions.delete_below(base, number)
    if not target.is_right():
        raise RuntimeError(f"Version {number} answers wrong")
    memory = psutil.Process(target.pid).memory_info().rss / 2**20
    return {"version": number, "RSS MiB": f"{memory:.0f}", "swap, s": f"{seconds:.2f}"}


if __name__ == "__main__":
    main()
