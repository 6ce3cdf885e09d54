"""Model versions on disk: what a base path holds, and whether somebody still writes into a version."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")

# A version whose files changed within this time may still be in the middle of a copy.
SETTLE_SECONDS = 2.0

GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
"""Either holds the graph of a SavedModel; a folder with one of them is a version."""

Fingerprint = frozenset[tuple[str, int, int]]


@dataclass(frozen=True)
class Scan:
    """What a base path holds."""

    versions: dict[int, Path]
    """Version number -> entry. Whether it is a folder, and what lies in it, is not looked at."""
    warnings: tuple[str, ...] = ()
    """Two names for one number."""


def scan(base_path: Path) -> Scan:
    """Every entry whose whole name is a 64-bit integer; all else is ignored.

    Leading zeros are common ("00000123" is version 123). If two names mean one number, the lexicographically last wins.
    Raises OSError if `base_path` cannot be listed.
    """
    versions: dict[int, Path] = {}
    warnings = []
    for name in sorted(entry.name for entry in base_path.iterdir()):
        if not _INTEGER.fullmatch(name) or not -(2**63) <= int(name) < 2**63:
            continue
        if (other := versions.get(int(name))) is not None:
            warnings.append(f"Duplicate version directories {other} and {base_path / name}: the latter is used")
        versions[int(name)] = base_path / name
    return Scan(versions, tuple(warnings))


def has_graph(path: Path) -> bool:
    """Whether `path` is a version folder itself, as far as one can tell."""
    return any((path / name).is_file() for name in GRAPHS)


def fingerprint(path: Path) -> Fingerprint:
    """Name, size (bytes) and time of the last change (ns) of every file; another one when any file was written again.

    The time is that of the inode, which unlike the modification time cannot be set: copies that keep times, and files that
    are replaced by others of the same age, are seen too.
    """
    files = [file for file in path.rglob("*") if file.is_file()]
    stats = [(file, file.stat()) for file in files]
    return frozenset((str(file.relative_to(path)), stat.st_size, stat.st_ctime_ns) for file, stat in stats)


def is_settled(path: Path) -> bool:
    """Whether nothing below `path` changed lately by the clock.

    Where the folder itself lies does not count, so one that is written aside and renamed into place is settled at once. If
    the clock was set back, files seem to come from the future, and are not settled.
    """
    now = time.time()
    newest = max((entry.stat().st_ctime for entry in path.rglob("*")), default=now)
    return now - newest >= SETTLE_SECONDS
