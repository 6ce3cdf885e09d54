"""Writes what a benchmark found: JSON for programs, a table for people, both with the conditions."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def write(name: str, title: str, rows: list[dict[str, object]]) -> str:
    """Writes results/NAME.json and NAME.md; returns the table."""
    conditions = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in ("tensorflow", "grpcio", "protobuf", "numpy")},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"conditions": conditions, "rows": rows}, indent=2) + "\n")
    header = "| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]) + "\n"
    body = "".join("| " + " | ".join(str(value) for value in row.values()) + " |\n" for row in rows)
    told = ", ".join(f"{key} {value}" for key, value in conditions.items())
    table = f"# {title}\n\n{header}{body}\nConditions: {told}.\n"
    (RESULTS / f"{name}.md").write_text(table)
    return table
