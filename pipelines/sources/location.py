"""A file or folder of any file system that fsspec knows, and what lies in a folder."""

from __future__ import annotations

import functools
import os
import posixpath
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipelines.errors import UsageError
from pipelines.problems import Problem, ProblemKind

# Fields in which file systems tell that a file has changed, the best one first.
STAMPS = ("mtime", "etag", "ETag", "md5Hash", "LastModified", "last_modified", "updated", "created")


class Entry(NamedTuple):
    """A file or folder within a root."""

    path: str
    """Relative to the root, '/'-separated."""
    is_folder: bool
    stamp: str
    """Changes when the file does."""
    link: str = ""
    """What it really is, an absolute path, if it is a link; else ""."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Location:
    """A place that need not exist. text: as the user wrote it."""

    text: str
    fs: fsspec.AbstractFileSystem
    path: str
    """Absolute, as the file system wants it."""

    @classmethod
    def parse(cls, text: str) -> Location:
        """From a path or a URL such as gs://bucket/folder. Raises UsageError if it is empty or nothing can read such a URL."""
        if not text:
            raise UsageError('Expected a path or a URL. Received: nothing; "." is this folder.')
        try:
            if Path(text).exists():  # "::" and ":/" may be parts of its name
                fs, path = LocalFileSystem(), os.path.abspath(text)  # noqa: PTH100
            else:
                fs, path = fsspec.core.url_to_fs(text)
        except ImportError as error:
            raise UsageError(f"{text} needs a package that is not installed: {_package(error)}") from error
        except (ValueError, OSError) as error:
            raise UsageError(
                f"{text} cannot be opened ({error}). Expected a path or a URL that fsspec reads, such as s3://bucket/folder."
            ) from error
        return cls(text, fs, path.rstrip("/") or "/")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disks."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def url(self) -> str:
        """Absolute path if it is local, else the URL."""
        return self.path if self.is_local else str(self.fs.unstrip_protocol(self.path))

    @property
    def parent(self) -> Location:
        """The folder it is in."""
        path = posixpath.dirname(self.path) or "/"
        return Location(path, self.fs, path)

    def child(self, relative: str) -> Location:
        """The file or folder at the '/'-separated path `relative` to it."""
        path = posixpath.join(self.path, relative)
        return Location(path, self.fs, path)

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return bool(self.fs.isfile(self.path))

    def is_folder(self) -> bool:
        """Whether there is such a folder."""
        return bool(self.fs.isdir(self.path))

    def data_set_name(self) -> str:
        """Its own name without suffixes, as a data set may be called."""
        name = posixpath.basename(self.path)
        return as_name(name if self.is_folder() else name.partition(".")[0])

    def read(self, start: int | None = None, end: int | None = None) -> bytes:
        """The file's content, or its bytes from `start` to before `end`. Raises OSError."""
        try:
            return bytes(self.fs.cat_file(self.path, start=start, end=end))
        except OSError:
            raise
        except Exception as error:  # each backend of fsspec has exceptions of its own
            raise OSError(f"{self.text}: {' '.join(str(error).split())}") from error

    def stamp(self) -> str:
        """Changes when the file does."""
        return _stamp(self.fs.info(self.path))

    @functools.cached_property
    def top(self) -> list[Entry]:
        """What lies in it, if it is a folder, faulty entries left out."""
        return self.entries()[0] if self.is_folder() else []

    def entries(self, folder: str = "") -> tuple[list[Entry], list[Problem]]:
        """What lies in its sub-folder `folder`, sorted by name, and what of it cannot be used.

        Links within this location are followed by one step; those that lead outside are problems.
        """
        path = posixpath.join(self.path, folder) if folder else self.path
        try:
            infos = self.fs.ls(path, detail=True)
        except OSError as error:
            return [], [Problem(ProblemKind.UNREADABLE, printable(folder or "."), error.strerror or str(error))]
        prefix = f"{folder}/" if folder else ""
        found = []
        for info in infos:
            name = info["name"].rstrip("/")
            if name != path:  # object stores list a folder in itself
                found.append(self._entry(prefix + name.rpartition("/")[2], info))
        entries = sorted((entry for entry in found if isinstance(entry, Entry)), key=lambda entry: entry.path)
        return entries, sorted(problem for problem in found if isinstance(problem, Problem))

    def _entry(self, path: str, info: Mapping[str, Any]) -> Entry | Problem:
        if not path.isascii() and printable(path) != path:
            return Problem(ProblemKind.UNREADABLE, printable(path), "the name is not UTF-8 text; rename it")
        if info.get("islink"):
            return self._linked(path, info)
        if info["type"] not in ("file", "directory"):
            return Problem(ProblemKind.UNREADABLE, path, "neither a file nor a folder")
        return Entry(path, info["type"] == "directory", _stamp(info))

    def _linked(self, path: str, info: Mapping[str, Any]) -> Entry | Problem:
        target = os.path.realpath(info["name"])
        if not self.holds(target):
            return Problem(ProblemKind.OUTSIDE_LINK, path, f"links to {printable(info['destination'])}")
        try:
            status = os.stat(target)  # noqa: PTH116 as fsspec, paths are text here
        except OSError as error:
            return Problem(ProblemKind.UNREADABLE, path, f"a link that leads nowhere ({error.strerror})")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return Problem(ProblemKind.UNREADABLE, path, "neither a file nor a folder")
        return Entry(path, stat.S_ISDIR(status.st_mode), f"{status.st_size}-{status.st_mtime}", target)

    def holds(self, real: str) -> bool:
        """Whether the absolute path `real`, itself without links, is within this local folder."""
        return is_within(real, self._real)

    @functools.cached_property
    def _real(self) -> str:
        return os.path.realpath(self.path)


def is_within(path: str, folder: str) -> bool:
    """Whether `path` is the folder or something in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def printable(path: str) -> str:
    r"""The path with bytes that are not UTF-8 written as \xNN."""
    return os.fsencode(path).decode(errors="backslashreplace")


def as_name(text: str) -> str:
    """A name that `files.NAME` allows, as near to `text` as it may be."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "pictures"


def _stamp(info: Mapping[str, Any]) -> str:
    for field in STAMPS:
        if info.get(field):
            return f"{info.get('size')}-{info[field]}"
    return str(info.get("size", ""))


def _package(error: ImportError) -> str:
    """What to do, out of fsspec's message, such as "Install s3fs to access S3"."""
    named = re.search(r"nstall (?:the )?'?([\w\[\]-]+)", str(error))
    return f"pip install {named[1]}" if named else str(error)
