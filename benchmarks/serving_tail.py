"""How long the slowest requests take, to the usual ones, at SHARE of what a server takes.

python -m benchmarks.serving_tail --model lenet5 --only cnn-tf,mosec [--compiled FOLDER] [--peers-dir FOLDER] [--rounds 5]

Each round loads a server with 8 or 32 callers who do not pause, and right after that, since the machine's own speed changes by
the minute, with SHARE of the requests that it has answered: from as many callers, who pause; and, ours only, at even and at
random times, whether or not earlier ones are answered, latencies counted from then on. So that it is seen what of that is the
machine's, the limit gets SHARE of its own pictures at such times: one process, no server (`serving_limit`). Told are medians.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from benchmarks import load, report, serving, serving_limit, serving_models
from benchmarks.load import Target
from benchmarks.serving_limit import Limit

CALLERS = (8, 32)
KINDS = ("even", "random")
SECONDS = {"lenet5": 4.0, "resnet18": 12.0}
MODE = "frozen"


class Tail(NamedTuple):
    """Of one load: requests a second, milliseconds."""

    rate: float
    p50: float
    p99: float
    failed: int = 0


def main() -> None:
    parser = serving.options(__doc__, only=f"{serving.US},mosec", rounds=5)
    parser.add_argument("--model", default="lenet5", choices=SECONDS)
    arguments = parser.parse_args()
    load.require_generator()
    serving_models.write(arguments.models)
    tails = measure(arguments)
    title = f"Latencies at {serving.SHARE:.0%} load, {arguments.model}"
    print(report.write(f"serving_tail_{arguments.model}", title, [_row(*key, runs) for key, runs in tails.items()]))


def measure(arguments: argparse.Namespace) -> dict[tuple[str, int], list[Tail]]:
    """By what was measured, and how many callers."""
    name, seconds = arguments.model, SECONDS[arguments.model]
    tails: dict[tuple[str, int], list[Tail]] = defaultdict(list)
    with ExitStack() as stack:
        limit = stack.enter_context(serving_limit.running(arguments.models / name / "1", name, MODE))
        expected = np.array(limit.measure(1)["answer"], np.float32)  # warms it
        starts = serving.servers(name, expected, arguments)
        servers = {server: stack.enter_context(start()) for server, start in starts.items()}
        for target in servers.values():
            load.closed(target, CALLERS[0], 2)  # warms it
        for _ in range(arguments.rounds):
            for server, target in servers.items():
                for callers in CALLERS:
                    for how, tail in _of_server(target, callers, seconds, at_times=server == serving.US):
                        tails[f"{server}, {how}", callers].append(tail)
            for how, tail in _of_limit(limit, seconds):
                tails[f"limit, {MODE}, {how}", 1].append(tail)
    return tails


def _of_server(target: Target, callers: int, seconds: float, *, at_times: bool) -> Iterator[tuple[str, Tail]]:
    full = load.closed(target, callers, seconds)
    rate = serving.SHARE * full.rate
    loads = {"no pauses": full, "pauses": load.closed(target, callers, seconds, rate=rate)}
    if at_times:
        loads |= {f"at {kind} times": load.open_loop(target, kind, rate, seconds) for kind in KINDS}
    for how, run in loads.items():
        yield how, Tail(run.rate, run.p50, run.p99, run.failed + run.wrong)


def _of_limit(limit: Limit, seconds: float) -> Iterator[tuple[str, Tail]]:
    for kind in KINDS:
        rate = serving.SHARE * limit.measure(seconds)["rate"]
        p50, p99 = np.percentile(limit.at_times(kind, rate, seconds), [50, 99])
        yield f"at {kind} times", Tail(rate, float(p50), float(p99))


def _row(what: str, callers: int, runs: list[Tail]) -> dict[str, object]:
    ratios = sorted(run.p99 / run.p50 for run in runs)
    return {
        "what": what,
        "callers": callers,
        "requests/s": f"{statistics.median(run.rate for run in runs):.1f}",
        "p50 ms": f"{statistics.median(run.p50 for run in runs):.2f}",
        "p99 ms": f"{statistics.median(run.p99 for run in runs):.2f}",
        "p99 / p50": f"{statistics.median(ratios):.2f}",
        "of single rounds": f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        "failed or wrong": sum(run.failed for run in runs),
    }


if __name__ == "__main__":
    main()
