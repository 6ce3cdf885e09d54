"""Model versions on disk: what a base path holds, and whether a version is complete."""

from __future__ import annotations

import re
import time
from pathlib import Path

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")
_SHARD = re.compile(r"variables\.data-\d+-of-(\d+)")

# A version whose files changed within this time may still be in the middle of a copy.
SETTLE_SECONDS = 2.0

Fingerprint = frozenset[tuple[str, int, int]]


def versions(base_path: Path) -> dict[int, Path]:
    """Version number -> folder, for every entry whose whole name is an integer; all else is ignored.

    Leading zeros are common ("00000123" is version 123). If two names mean one number, the lexicographically last wins.
    Raises OSError if `base_path` cannot be listed.
    """
    names = sorted(entry.name for entry in base_path.iterdir())
    numbers = {int(name): base_path / name for name in names if _INTEGER.fullmatch(name)}
    return {number: path for number, path in numbers.items() if -(2**63) <= number < 2**63}


def missing(path: Path) -> str | None:
    """What a SavedModel folder evidently still lacks before it can be loaded, or None.

    TensorFlow Serving loads a version whose variables are not there yet, and then fails every request
    (tensorflow/serving#1086). A folder without any variables passes: a model may have none, and loading one that needs
    them is refused by the loader.
    """
    if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return "saved_model.pb"
    names = {entry.name for entry in path.glob("variables/*")}
    if not names:
        return None
    wanted = {"variables.index"}
    for match in filter(None, map(_SHARD.fullmatch, names)):
        wanted |= {f"variables.data-{number:05d}-of-{match[1]}" for number in range(int(match[1]))}
    if len(wanted) == 1:
        wanted.add("variables.data-00000-of-00001")
    absent = sorted(wanted - names)
    return f"variables/{absent[0]}" if absent else None


def fingerprint(path: Path) -> Fingerprint:
    """Name, size (bytes) and modification time (ns) of every file; changes when any file does."""
    files = [file for file in path.rglob("*") if file.is_file()]
    stats = [(file, file.stat()) for file in files]
    return frozenset((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns) for file, stat in stats)


def is_settled(path: Path, before: Fingerprint | None) -> bool:
    """Whether nobody seems to write into `path` any more.

    So it is if nothing changed lately by the clock, or nothing since `before`, the fingerprint of the last look.
    """
    newest = max(entry.stat().st_mtime for entry in (path, *path.rglob("*")))
    return not 0 <= time.time() - newest < SETTLE_SECONDS or fingerprint(path) == before
