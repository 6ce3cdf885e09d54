"""`python -m benchmarks.abuse`: every attack in full on a server of its own; exit code 1 if there are findings."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report
from benchmarks.abuse import attacks, connections, model
from benchmarks.abuse.victim import Victim, watched
from serving.server import process

# Seconds within which the good client must be answered while two cores are under attack.
PATIENCE = 30.0
# MiB that the server may grow by: a request of 1 GiB, as bytes and as an array, and as JSON.
MOST_MEMORY = 6 * 1024


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=100_000, help="random requests for each fuzzing attack")
    parser.add_argument("--only", default=",".join(attacks.ATTACKS))
    parser.add_argument("flags", nargs="*", help="flags of the server, after --")
    arguments = parser.parse_args()
    connections.raise_file_limit(25_000)
    rows, found = [], 0
    with tempfile.TemporaryDirectory() as folder:
        model.write(Path(folder) / "victim" / "1")
        for name in arguments.only.split(","):
            # Each on a server of its own, so that one that ends does not hide what the next would find.
            with process.running([folder, *arguments.flags]) as server:
                row = run(name, Victim(server, "victim", model.pictures(), arguments.requests))
            found += int(str(row["findings"]))
            rows.append(row)
            print(row, flush=True)
    print(report.write("abuse", f"A server under attack, {arguments.requests} random requests each", rows))
    return int(found > 0)


def run(name: str, victim: Victim) -> dict[str, object]:
    """Carries out one attack; prints and counts what it finds."""
    begin, before = time.monotonic(), victim.rss()
    with watched(victim, PATIENCE) as watch:
        findings = [str(finding) for finding in attacks.ATTACKS[name](victim)]
    findings += watch.faults[:10]
    if watch.peak - before > MOST_MEMORY:
        findings.append(f"memory grew from {before:.0f} to {watch.peak:.0f} MiB")
    for finding in findings:
        print(f"FOUND {name}: {finding}", flush=True)
    return {
        "attack": name,
        "seconds": f"{time.monotonic() - begin:.0f}",
        "answers": ", ".join(f"{status}: {count}" for status, count in victim.statuses.most_common()),
        "good answers": watch.answers - len(watch.faults),
        "slowest good answer, s": f"{watch.slowest:.2f}",
        "memory before, peak, after, MiB": f"{before:.0f}, {watch.peak:.0f}, {victim.rss():.0f}"
        if victim.is_alive()
        else "ended",
        "findings": len(findings),
    }


if __name__ == "__main__":
    sys.exit(main())
