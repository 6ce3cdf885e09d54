"""Files and folders that are there as a whole or not at all: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import RunBusy, UsageError

# What a killed process may leave behind begins so.
ASIDE = ".aside-"

# Of runs and models: a folder's name everywhere, and safe in a URL.
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def require_name(kind: str, name: str) -> None:
    """Raises UsageError unless `name` fits `NAME`."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"A {kind}'s name is made of letters, digits, '_', '-' and, not in front, '.'. Received: {name!r}."
        )


def write(path: Path, content: str | bytes) -> None:
    """Replaces the file `path`."""
    with file_aside(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """Gives the name of a file to write, which becomes `path` at the end of the block, unless that raises.

    It keeps the suffix, by which some writers choose their format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=ASIDE, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o666 & ~_umask())
        _sync(aside)
        aside.replace(path)
        _sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill, which becomes `path` at the end of the block, unless that raises.

    Raises FileExistsError if `path` is there by then and not empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=path.parent))
    try:
        yield aside
        aside.chmod(0o777 & ~_umask())
        into_place(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def into_place(aside: Path, path: Path) -> None:
    """Flushes the folder `aside` to the disk and renames it. Raises FileExistsError if `path` is there and not empty."""
    for entry in (*aside.rglob("*"), aside):
        _sync(entry)
    try:
        aside.rename(path)
    except OSError as error:
        raise FileExistsError(f"{path} already exists.") from error
    _sync(path.parent)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process alone, and clears what killed ones left in it. Raises RunBusy."""
    with _flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        _clear(folder.rglob(f"{ASIDE}*"))
        yield


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """As `lock` for the files in `folder`, whatever goes on in the folders below, and waits for others: be short."""
    with _flock(folder, fcntl.LOCK_EX):
        _clear(folder.glob(f"{ASIDE}*"))
        yield


@contextmanager
def _flock(folder: Path, operation: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, operation)
        except BlockingIOError:
            raise RunBusy(f"Another process is working on {folder}. Wait for it, or stop it.") from None
        yield


def _clear(left: Iterable[Path]) -> None:
    for entry in left:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
