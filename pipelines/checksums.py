"""The manifest of an exported version: bytes and SHA-256 of every file, so that damage is found before it is served.

assets.extra/manifest.json   {"files": {"saved_model.pb": {"sha256": "...", "bytes": 1234}, ...}}; all files but itself
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

MANIFEST = Path("assets.extra") / "manifest.json"

_CHUNK_BYTES = 1 << 20


def write_manifest(folder: Path) -> None:
    """Of all that is in the version folder now, so it comes last."""
    files = {name: {"sha256": sha256(folder / name), "bytes": size} for name, size in sorted(_sizes(folder).items())}
    (folder / MANIFEST).parent.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=2) + "\n")


def findings(folder: Path) -> list[str]:
    """What of a version folder is not as its manifest says, a line each; empty if all is."""
    if not (folder / MANIFEST).is_file():
        return [f"{MANIFEST} is missing: nothing can be verified"]
    try:
        promised = {
            str(name): (int(file["bytes"]), str(file["sha256"]))
            for name, file in json.loads((folder / MANIFEST).read_bytes())["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return [f"{MANIFEST} cannot be read: {type(error).__name__}: {error}"]
    sizes = _sizes(folder)
    found = {name: _finding(folder, name, sizes.get(name), *promised[name]) for name in promised}
    found |= dict.fromkeys(sizes.keys() - promised.keys(), "is not in the manifest")
    return [f"{name} {text}" for name, text in sorted(found.items()) if text]


def _finding(folder: Path, name: str, size: int | None, wanted_size: int, wanted_hash: str) -> str | None:
    if size is None:
        return "is missing"
    if size != wanted_size:
        return f"has {size} bytes instead of {wanted_size}"
    if (actual := sha256(folder / name)) != wanted_hash:
        return f"has SHA-256 {actual} instead of {wanted_hash}"
    return None


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file but the manifest, by its path in the version folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def sha256(file: Path) -> str:
    """Of a file of any size, hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
