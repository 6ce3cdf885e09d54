"""The manifest of an exported version: bytes and SHA-256 of every file, so that damage is found before it is served.

assets.extra/manifest.json   {"files": {"saved_model.pb": {"sha256": "...", "bytes": 1234}, ...}}; all files but itself
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipelines.errors import DataDamaged

MANIFEST = Path("assets.extra") / "manifest.json"

_CHUNK_BYTES = 1 << 20


class Promise(NamedTuple):
    """What a file must be."""

    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""


def write_manifest(folder: Path) -> None:
    """Of all that is in the version folder now, so it comes last."""
    files = {name: {"sha256": sha256(folder / name), "bytes": size} for name, size in sorted(_sizes(folder).items())}
    (folder / MANIFEST).parent.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=2) + "\n")


def promised(folder: Path) -> dict[str, Promise]:
    """What the manifest says of every file, by its path in the version folder. Raises DataDamaged if it says nothing."""
    if not (folder / MANIFEST).is_file():
        raise DataDamaged(f"{MANIFEST} is missing: nothing can be verified")
    try:
        return {
            str(name): Promise(int(file["bytes"]), str(file["sha256"]))
            for name, file in json.loads((folder / MANIFEST).read_bytes())["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataDamaged(f"{MANIFEST} cannot be read: {type(error).__name__}: {error}") from error


def findings(folder: Path) -> list[str]:
    """What of a version folder is not as its manifest says, a line each; empty if all is."""
    try:
        promises = promised(folder)
    except DataDamaged as error:
        return [str(error)]
    sizes = _sizes(folder)
    found = {name: _finding(folder, name, sizes.get(name), promise) for name, promise in promises.items()}
    found |= dict.fromkeys(sizes.keys() - promises.keys(), "is not in the manifest")
    return [f"{name} {text}" for name, text in sorted(found.items()) if text]


def _finding(folder: Path, name: str, size: int | None, promise: Promise) -> str | None:
    if size is None:
        return "is missing"
    if size != promise.size:
        return f"has {size} bytes instead of {promise.size}"
    if (actual := sha256(folder / name)) != promise.sha256:
        return f"has SHA-256 {actual} instead of {promise.sha256}"
    return None


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file but the manifest, by its path in the version folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def sha256(file: Path) -> str:
    """Of a file of any size, hexadecimal."""
    with file.open("rb") as stream:
        return sha256_of(stream)


def sha256_of(stream: BinaryIO, advance: Callable[[int], None] = lambda size: None) -> str:
    """Of what is left in a stream, hexadecimal; `advance` is told of bytes as they are read."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        advance(len(chunk))
    return digest.hexdigest()
