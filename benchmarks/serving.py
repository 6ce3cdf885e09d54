"""Our server, the peers, and the limit, in one run: requests/s, latency, CPU and memory.

python -m benchmarks.serving --peers-dir FOLDER [--quick] [--models FOLDER] [--only NAME,NAME] [--model lenet5|resnet18]

Each round starts every server in turn and loads it with 1, 8 and 32 callers; beside it, the limit is measured: the signature
as `tf.saved_model.load` gives it, called in one process at its best batch size. Told are medians over the rounds. Peers that
are not in --peers-dir (see benchmarks/peers) are left out, and named.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import load, peers, report, serving_hosts, serving_limit, serving_models
from benchmarks.load import Load, Target

CALLERS = (1, 8, 32)
# gRPC's clients share a channel among the threads of a process; HTTP/1.1 has a connection for each caller.
CHANNELS = 4
# A load of ResNet-18 answers some 30 times a second: in a short one the last answers, late or not, are much of the count.
SECONDS = {"lenet5": 6.0, "resnet18": 20.0}
# Of the rate with CALLERS[-1], for requests at given times.
SHARE = 0.7
# What the flags of ours are in each form; the last is whose ratio the others are told by.
OURS = {
    "cnn-tf gRPC (grpcio)": ["--grpc_transport=grpcio"],
    "cnn-tf REST": [],
    "cnn-tf bfloat16": ["--mixed_precision=bfloat16"],
    "cnn-tf (pure Python)": [],
    "cnn-tf": [],
}
US = "cnn-tf"
PURE = "cnn-tf (pure Python)"

Start = Callable[[], AbstractContextManager[Target]]


def main() -> None:
    arguments = _arguments()
    load.require_generator()
    serving_models.write(arguments.models)
    for name in arguments.model.split(","):
        run(name, arguments)


def run(name: str, arguments: argparse.Namespace) -> None:
    """All rounds for one model; writes results/serving_MODEL."""
    limits: dict[str, list[dict[str, object]]] = defaultdict(list)
    loads: dict[tuple[str, int], list[Load]] = defaultdict(list)
    out: dict[str, str] = {}
    seconds = 1.5 if arguments.quick else SECONDS[name]
    for _ in range(1 if arguments.quick else arguments.rounds):
        for mode in _modes():
            limits[mode].append(serving_limit.measure(arguments.models / name / "1", name, mode, seconds * 2))
        expected = np.array(limits["plain"][-1]["answer"], np.float32)
        for server, start in servers(name, expected, arguments).items():
            if server not in out:
                _measure(server, start, seconds, loads, out)
    rates = {mode: statistics.median(float(str(run["rate"])) for run in runs) for mode, runs in limits.items()}
    rows: list[dict[str, object]] = [_row(key, runs, rates, loads) for key, runs in loads.items()]
    rows += [{**dict.fromkeys(rows[0], ""), "server": f"limit, {mode}", "requests/s": f"{rate:.1f}",
              "of the limit": f"{rate / rates['plain']:.2f}"} for mode, rate in rates.items()]  # fmt: skip
    rows += [{**dict.fromkeys(rows[0], ""), "server": server, "callers": reason} for server, reason in out.items()]
    print(report.write(f"serving_{name}", f"Serving {name}, one float32 picture a request", rows), flush=True)


def _modes() -> list[str]:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return ["plain", "frozen", "bfloat16"] if "bf16" in flags else ["plain", "frozen"]


def servers(name: str, expected: np.ndarray, arguments: argparse.Namespace) -> dict[str, Start]:
    servers: dict[str, Start] = {}
    for form, flags in OURS.items():
        if "bfloat16" in form and "bfloat16" not in _modes():
            continue
        if form == PURE and not arguments.compiled:
            continue
        servers[form] = partial(
            serving_hosts.ours, arguments.models, name, expected, flags,
            rest="REST" in form, environment=None if form == PURE else arguments.compiled,
        )  # fmt: skip
    for peer in peers.PEERS:
        servers[peer.name] = partial(serving_hosts.peer, peer, arguments.peers_dir, arguments.models, name, expected)
    only = arguments.only.split(",") if arguments.only else servers
    return {server: start for server, start in servers.items() if server in only}


def _measure(
    server: str, start: Start, seconds: float, loads: dict[tuple[str, int], list[Load]], out: dict[str, str]
) -> None:
    try:
        with start() as target:
            load.closed(target, 8, 1)  # warms it
            for callers in CALLERS:
                result = load.closed(target, callers, seconds)
                loads[server, callers].append(result)
                print(f"{server}, {callers} callers: {result}", flush=True)
                if target.request.is_grpc and callers > CHANNELS:
                    shared = load.closed(target, callers, seconds, CHANNELS)
                    loads[f"{server}, {CHANNELS} channels", callers].append(shared)
                    print(f"{server}, {callers} callers on {CHANNELS} channels: {shared}", flush=True)
            if server == US:
                rate = SHARE * loads[server, CALLERS[-1]][-1].rate
                for kind in ("even", "random"):
                    result = load.open_loop(target, kind, rate, seconds)
                    loads[f"{server}, at {kind} times at {SHARE:.0%} of that", CALLERS[-1]].append(result)
                    print(f"{server}, {rate:.0f} requests/s at {kind} times: {result}", flush=True)
    except (RuntimeError, OSError) as error:
        out[server] = f"left out: {str(error).splitlines()[0]}"
        print(f"{server} {out[server]}", flush=True)


def _row(
    key: tuple[str, int], runs: list[Load], limits: dict[str, float], loads: dict[tuple[str, int], list[Load]]
) -> dict[str, object]:
    server, callers = key

    def median(field: str, of: list[Load] = runs) -> float:
        return statistics.median(getattr(run, field) for run in of)

    us = loads.get((US, callers))
    return {
        "server": server,
        "callers": callers,
        "requests/s": f"{median('rate'):.1f}",
        "of the limit": f"{median('rate') / limits['plain']:.2f}",
        "to cnn-tf": f"{median('rate') / median('rate', us):.2f}" if us else "",
        "p50 ms": f"{median('p50'):.2f}",
        "p99 ms": f"{median('p99'):.2f}",
        "server CPU ms/request": f"{median('cpu'):.3f}",
        "RSS MiB": f"{median('rss'):.0f}",
        "failed or wrong": sum(run.failed + run.wrong for run in runs),
    }


def options(description: str | None, *, only: str, rounds: int) -> argparse.ArgumentParser:
    """The options of every benchmark of servers, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--peers-dir", type=Path, default=Path("peers"))
    parser.add_argument("--compiled", type=Path, help="virtual environment with the wheel that `make wheel` builds")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "cnn-tf-serving-models")
    parser.add_argument("--only", default=only, help="servers to measure, separated by commas")
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def _arguments() -> argparse.Namespace:
    parser = options(__doc__, only="", rounds=3)
    parser.add_argument("--model", default=",".join(serving_models.SHAPES))
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    return parser.parse_args()


if __name__ == "__main__":
    main()
