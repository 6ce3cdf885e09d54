"""A folder whose sub-folders are the classes, or whose folders train, validation and test hold such sub-folders."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.problems import Problem, ProblemKind
from pipelines.sources.base import SPLITS, Candidate, Listing
from pipelines.sources.location import Entry, Location, is_within

# What systems leave in folders without being asked, besides names that begin with a dot.
IGNORED = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
# Only to tell which mistake was made: whether a file is a picture is decided by its content.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
LAYOUT = "cat/1.jpg, dog/2.jpg, or train/cat/1.jpg, test/cat/3.jpg"


@dataclass(frozen=True)
class Folder:
    """Class sub-folders below `location`, which `open_folder` has looked at. Whatever is below a class belongs to it."""

    location: Location
    name: str
    depth: int
    """How many parts of a path come before the file or the folders below its class: 2 if the first is a split, else 1."""
    kept: frozenset[str] = frozenset()
    class_names: Sequence[str] = ()

    @property
    def root(self) -> str:
        """Absolute folder or URL."""
        return self.location.url

    def list(self) -> Listing:
        """Every file below a class, whatever it holds; pictures in no class are problems."""
        files, folders, problems = walk(self.location)
        candidates = [self._candidate(file) for file in files if file.path.count("/") >= self.depth]
        problems += [
            Problem(ProblemKind.NO_CLASS, file.path, "not below a class folder")
            for file in files
            if file.path.count("/") < self.depth and _is_picture(file)
        ]
        filled = {_beginning(candidate.path, self.depth) for candidate in candidates}
        classes = {folder for folder in folders if folder.count("/") == self.depth - 1}
        problems += [Problem(ProblemKind.EMPTY_CLASS, path, "no file in it") for path in classes - filled]
        return candidates, sorted(problems)

    def _candidate(self, file: Entry) -> Candidate:
        parts = file.path.split("/", self.depth)
        split = SPLITS[parts[0].lower()] if self.depth == 2 else None
        return Candidate(file.path, parts[self.depth - 1], split, stamp=file.stamp)

    def read(self, path: str) -> bytes:
        """The file's content. Raises OSError."""
        return self.location.child(path).read()


def open_folder(location: Location, name: str | None = None) -> Folder:
    """The source, after a look at the names of the first folders only. Raises UsageError if they are not classes."""
    folders = [entry for entry in location.top if entry.is_folder and not is_ignored(entry.name)]
    if not folders:
        raise UsageError(
            f"{location.text} holds no folders. Expected one for each class, such as {LAYOUT}; "
            f"or a table manifest.csv with the columns path and label."
        )
    splits = [entry.name for entry in folders if entry.name.lower() in SPLITS]
    within = {entry.name: _folders(location, entry) for entry in folders if entry.name in splits or len(folders) == 1}
    depth = 2 if any(within[name] for name in splits) else 1
    if depth == 2 and len(splits) < len(folders):
        others = [entry.name for entry in folders if entry.name not in splits]
        raise UsageError(
            f"{location.text} mixes splits ({', '.join(splits)}) with other folders ({', '.join(others)}). Expected {LAYOUT}. "
            "Move the others away, or rename the splits if they are classes."
        )
    if depth == 1 and (len(folders) == 1 or len(splits) == len(folders)):
        _refuse_as_classes(location, [entry.name for entry in folders], within)
    return Folder(location, name or location.data_set_name(), depth)


def walk(location: Location) -> tuple[list[Entry], list[str], list[Problem]]:
    """All files, all folders and all problems below a folder; files are sorted by path.

    A link to a folder is followed unless that would lead in circles: not to a folder that contains the link, and once to any.
    """
    files: list[Entry] = []
    folders: list[str] = []
    problems: list[Problem] = []
    followed: set[str] = set()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        entries, wrong = location.entries(folder)
        problems += [problem for problem in wrong if not is_ignored(posixpath.basename(problem.path))]
        for entry in entries:
            if is_ignored(entry.name):
                continue
            if not entry.is_folder:
                files.append(entry)
            elif entry.link and _is_circle(location, folder, entry, followed):
                problems.append(
                    Problem(ProblemKind.UNREADABLE, entry.path, "a link to a folder that is listed already")
                )
            else:
                folders.append(entry.path)
                waiting.append(entry.path)
                followed.add(entry.link)
    return sorted(files, key=lambda file: file.path), folders, problems


def is_ignored(name: str) -> bool:
    """Whether a file or folder is no concern of a data set: hidden, or left there by a system."""
    return name.startswith(".") or name.lower() in IGNORED


def _is_circle(location: Location, folder: str, link: Entry, followed: set[str]) -> bool:
    return link.link in followed or is_within(os.path.realpath(posixpath.join(location.path, folder)), link.link)


def _folders(location: Location, entry: Entry) -> list[str]:
    return [inner.path for inner in location.entries(entry.path)[0] if inner.is_folder and not is_ignored(inner.name)]


def _beginning(path: str, depth: int) -> str:
    return "/".join(path.split("/", depth)[:depth])


def _is_picture(file: Entry) -> bool:
    """By its name."""
    return file.name.lower().endswith(PICTURE_SUFFIXES)


def _refuse_as_classes(location: Location, names: list[str], within: dict[str, list[str]]) -> None:
    if len(names) > 1:
        raise UsageError(f"{', '.join(names)} in {location.text} hold no class folders. Expected {LAYOUT}.")
    inner = within[names[0]]
    hint = f" If its sub-folders are the classes, name it: {posixpath.join(location.text, names[0])}." if inner else ""
    raise UsageError(
        f"{location.text} holds one class folder alone, {names[0]!r}. Expected at least two, such as {LAYOUT}.{hint}"
    )
