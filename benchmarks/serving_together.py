"""A few servers that run at once and are loaded in turns: for ratios, where the machine's own speed changes by the minute.

python -m benchmarks.serving_together --model lenet5 --only cnn-tf,mosec [--compiled FOLDER] [--peers-dir FOLDER] [--rounds 9]

Each round loads one server after the other for some seconds and measures the limit (`serving_limit`): at its best batch, and at
the best of those that the callers could fill. Told are the medians of the rounds, and of the ratios within a round.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from contextlib import ExitStack

import numpy as np

from benchmarks import load, report, serving, serving_limit, serving_models
from benchmarks.load import Load

CALLERS = (8, 32)
SECONDS = {"lenet5": 3.0, "resnet18": 10.0}
MODES = ("plain", "frozen")


def main() -> None:
    parser = serving.options(__doc__, only=f"{serving.US},mosec", rounds=9)
    parser.add_argument("--model", default="lenet5", choices=SECONDS)
    arguments = parser.parse_args()
    load.require_generator()
    serving_models.write(arguments.models)
    rows = measure(arguments)
    print(report.write(f"serving_together_{arguments.model}", f"Servers loaded in turns, {arguments.model}", rows))


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    name, seconds = arguments.model, SECONDS[arguments.model]
    version = arguments.models / name / "1"
    rows: list[dict[str, object]] = []
    with ExitStack() as stack:
        bare = {mode: stack.enter_context(serving_limit.running(version, name, mode)) for mode in MODES}
        answers = [limit.measure(1)["answer"] for limit in bare.values()]  # warms it
        expected = np.array(answers[0], np.float32)
        servers = {
            server: stack.enter_context(start()) for server, start in serving.servers(name, expected, arguments).items()
        }
        for target in servers.values():
            load.closed(target, 8, 2)  # warms it
        for callers in CALLERS:
            loads: dict[str, list[Load]] = defaultdict(list)
            limits: dict[str, list[float]] = defaultdict(list)
            for _ in range(arguments.rounds):
                for server, target in servers.items():
                    loads[server].append(load.closed(target, callers, seconds))
                for mode, limit in bare.items():
                    rates = limit.measure(seconds)["rates"]
                    limits[mode].append(max(rates.values()))
                    filled = f"{mode}, at most {callers} at once"
                    limits[filled].append(max(rate for batch, rate in rates.items() if batch <= callers))
            ours = [run.rate for run in loads[serving.US]]
            rows += [_row(server, callers, runs, ours) for server, runs in loads.items()]
            rows += [_limit(mode, callers, rates, ours) for mode, rates in limits.items()]
    return rows


def _row(server: str, callers: int, runs: list[Load], ours: list[float]) -> dict[str, object]:
    return {
        "server": server,
        "callers": callers,
        "requests/s": f"{statistics.median(run.rate for run in runs):.1f}",
        "cnn-tf to it": f"{statistics.median(us / run.rate for us, run in zip(ours, runs, strict=False)):.2f}",
        "p50 ms": f"{statistics.median(run.p50 for run in runs):.2f}",
        "p99 ms": f"{statistics.median(run.p99 for run in runs):.2f}",
        "p99 / p50": f"{statistics.median(run.p99 / run.p50 for run in runs):.2f}",
        "server CPU ms/request": f"{statistics.median(run.cpu for run in runs):.3f}",
        "failed or wrong": sum(run.failed + run.wrong for run in runs),
    }


def _limit(mode: str, callers: int, rates: list[float], ours: list[float]) -> dict[str, object]:
    return {
        "server": f"limit, {mode}",
        "callers": callers,
        "requests/s": f"{statistics.median(rates):.1f}",
        "cnn-tf to it": f"{statistics.median(us / rate for us, rate in zip(ours, rates, strict=True)):.2f}",
        **dict.fromkeys(["p50 ms", "p99 ms", "p99 / p50", "server CPU ms/request", "failed or wrong"], ""),
    }


if __name__ == "__main__":
    main()
