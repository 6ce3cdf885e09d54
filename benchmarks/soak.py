"""A long run at 80 % of what the server can do, with a version swap every 20 s. Exit code 1 if anything failed.

python -m benchmarks.soak [--minutes 10] [--share 0.8] [--swap-seconds 20] [--quick] [flags of the server after --]

Clients over gRPC and REST ask two models, some with retries and some without; every answer is compared with the model's.
None may fail, and memory may not grow.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import report, versions
from benchmarks.abuse import model
from benchmarks.soak_clients import Asker, GrpcAsker, RestAsker
from serving.server import process
from serving.server.process import RunningServer

MODELS = ("first", "second")
# In all, over both models and both protocols.
CLIENTS = 8
CALIBRATION_SECONDS = 8.0
# MiB a minute, from a third of the run on.
MOST_GROWTH = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--share", type=float, default=0.8, help="of the measured capacity")
    parser.add_argument("--swap-seconds", type=float, default=20)
    parser.add_argument("--quick", action="store_true", help="half a minute, a swap every 5 s")
    parser.add_argument("flags", nargs="*", help="flags of the server, after --")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.minutes, arguments.swap_seconds = 0.5, 5
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            model.write(Path(folder) / name / "1")
        with process.running([folder, "--file_system_poll_wait_seconds=0.5", *arguments.flags]) as server:
            row, problems = soak(server, Path(folder), arguments)
    print(report.write("soak", "A long run with version swaps", [row]))
    for problem in problems:
        print(f"FAILED: {problem}")
    return int(bool(problems))


def soak(server: RunningServer, folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    askers = _askers(server)
    capacity = _run(askers, CALIBRATION_SECONDS, None)
    askers = _askers(server)
    swaps, memory, stop = [0], list[tuple[float, float]](), threading.Event()
    beside = [
        threading.Thread(target=_swap, args=(server, folder, arguments.swap_seconds, stop, swaps)),
        threading.Thread(target=_watch, args=(server, memory, stop)),
    ]
    for thread in beside:
        thread.start()
    rate = _run(askers, arguments.minutes * 60, capacity * arguments.share)
    stop.set()
    for thread in beside:
        thread.join()
    return _judge(askers, capacity, rate, swaps[0], memory, arguments.minutes)


def _askers(server: RunningServer) -> list[Asker]:
    kinds = (GrpcAsker, GrpcAsker, GrpcAsker, RestAsker)
    return [
        kinds[number % 4](server, MODELS[number // 4 % 2], retries=3 * (number % 4 == 0)) for number in range(CLIENTS)
    ]


def _run(askers: list[Asker], seconds: float, rate: float | None) -> float:
    """Lets them ask for so long, at `rate` requests/s in all or as fast as they can; returns requests/s."""
    begin = time.monotonic()
    pause = len(askers) / rate if rate else 0.0
    threads = [threading.Thread(target=asker.run, args=(begin + seconds, pause)) for asker in askers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(len(asker.times) for asker in askers) / (time.monotonic() - begin)


def _swap(server: RunningServer, folder: Path, seconds: float, stop: threading.Event, swaps: list[int]) -> None:
    number = 1
    while not stop.wait(seconds):
        number += 1
        for name in MODELS:
            versions.publish(folder / name, number)
        for name in MODELS:
            versions.wait_available(server.grpc_address, name, number)
            versions.delete_below(folder / name, number)
        swaps[0] += 1


def _watch(server: RunningServer, memory: list[tuple[float, float]], stop: threading.Event) -> None:
    """(seconds, MiB) again and again."""
    process, begin = psutil.Process(server.process.pid), time.monotonic()
    while not stop.wait(1):
        memory.append((time.monotonic() - begin, process.memory_info().rss / 2**20))


def _judge(
    askers: list[Asker], capacity: float, rate: float, swaps: int, memory: list[tuple[float, float]], minutes: float
) -> tuple[dict[str, object], list[str]]:
    times = np.concatenate([asker.times for asker in askers]) * 1000
    failures = [failure for asker in askers for failure in asker.failures]
    seconds, sizes = np.array(memory[len(memory) // 3 :]).T
    slope = float(np.polyfit(seconds, sizes, 1)[0]) * 60
    problems = [f"{len(failures)} requests, the first: {failures[0]}"] if failures else []
    if slope > MOST_GROWTH and minutes >= 5:
        problems.append(f"memory grew by {slope:.1f} MiB a minute")
    if swaps == 0:
        problems.append("no version was swapped")
    return {
        "minutes": minutes,
        "capacity, requests/s": f"{capacity:.0f}",
        "asked, requests/s": f"{rate:.0f}",
        "requests": len(times),
        "failed": len(failures),
        "swaps of every model": swaps,
        "p50 ms": f"{np.percentile(times, 50):.2f}",
        "p99 ms": f"{np.percentile(times, 99):.2f}",
        "slowest ms": f"{times.max():.0f}",
        "RSS first, last, most, MiB": f"{memory[0][1]:.0f}, {memory[-1][1]:.0f}, {max(size for _, size in memory):.0f}",
        "growth MiB/minute": f"{slope:+.2f}",
    }, problems


if __name__ == "__main__":
    sys.exit(main())
