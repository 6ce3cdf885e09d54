"""A table that names pictures and their classes: CSV, TSV, or JSON Lines (an object a line), UTF-8 text.

Columns: path (relative to the table's folder), label; and if they are there, split and weight. Each may go by one of the other
names in `COLUMNS`. Further columns are ignored, but for the one that the user names as the group.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import DataDamaged, UsageError
from pipelines.problems import Problem, ProblemKind
from pipelines.sources.base import SPLITS, Candidate, Listing
from pipelines.sources.folder import is_ignored
from pipelines.sources.location import Entry, Location

# Column -> the names it may have, whatever their case.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split", "subset"),
    "weight": ("weight",),
}
REQUIRED = ("path", "label")
SUFFIXES = (".csv", ".tsv", ".jsonl")
# What a CSV or TSV table of pictures is called when the folder is named and not the table.
NAMES = ("manifest", "labels", "metadata")

OUTSIDE = re.compile(r"/|\.\.(/|$)|[A-Za-z][\w+.-]*:/")
# Neither a file nor a UTF-8 text may have these in its name.
IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    line: int
    """From 1."""
    values: Mapping[str, Any]
    """By the table's own names of columns."""
    fault: str = ""
    """Why it cannot be understood, or ""."""


@dataclass(frozen=True)
class Table:
    """The pictures that the rows of a table name."""

    location: Location
    """Of the table."""
    name: str
    rows: tuple[Row, ...]
    columns: Mapping[str, str]
    """Column, or "group" -> its name in this table."""
    kept: frozenset[str] = frozenset()
    class_names: Sequence[str] = ()

    @property
    def root(self) -> str:
        """Absolute folder or URL that the table is in."""
        return self.location.parent.url

    def list(self) -> Listing:
        """A candidate for each good row whose file is there, a problem for each other row."""
        files = _Files(self.location.parent)
        candidates: dict[str, Candidate] = {}
        problems: list[Problem] = []
        named: dict[str, str] = {}
        seen: set[str] = set()
        for row in self.rows:
            try:
                candidate = _candidate(row, self.columns)
                if candidate.label != named.setdefault(candidate.path, candidate.label):
                    problems.append(_conflict(candidate, named[candidate.path], row.line))
                    candidates.pop(candidate.path, None)
                    continue
                if candidate.path in seen:
                    raise ValueError(f"a line above names {candidate.path} already")
            except ValueError as error:
                where = f"{posixpath.basename(self.location.path)}:{row.line}"
                problems.append(Problem(ProblemKind.BAD_ROW, where, str(error)))
                continue
            seen.add(candidate.path)
            file = files.find(candidate.path)
            if isinstance(file, Problem):
                problems.append(file)
            else:
                candidates[candidate.path] = dataclasses.replace(candidate, stamp=file.stamp)
        return [candidates[path] for path in sorted(candidates)], sorted(problems)

    def read(self, path: str) -> bytes:
        """The file's content. Raises OSError."""
        return self.location.parent.child(path).read()


def find_table(location: Location) -> Location | None:
    """The table that `location` is, or the one in it. Raises UsageError if it cannot be told what is meant."""
    if location.path.lower().endswith(SUFFIXES):
        return location if location.is_file() else None
    visible = [entry for entry in location.top if not is_ignored(entry.name)]
    tables = [entry.name for entry in visible if not entry.is_folder and _is_table(entry.name)]
    folders = [entry.name for entry in visible if entry.is_folder]
    if not tables:
        return None
    if len(tables) > 1:
        raise UsageError(f"{location.text} holds several tables: {', '.join(tables)}. Name the one that is meant.")
    if len(folders) > 1:
        raise UsageError(
            f"{location.text} holds both a table, {tables[0]}, and folders that may be classes ({', '.join(folders[:5])}). "
            f"Name the table if it is meant: {posixpath.join(location.text, tables[0])}; else move it away."
        )
    return location.child(tables[0])


def open_table(location: Location, group: str | None = None) -> Table:
    """The source. group: name of the column that says what must not be divided between splits.

    Raises UsageError if columns are not there, DataDamaged if the text is no table.
    """
    rows, names = _parse(location)
    columns = {column: name for column in COLUMNS if (name := _find(column, names, location))}
    if group is not None:
        if group not in names:
            raise UsageError(f"{location.text} has no column {group!r} for the group. Its columns: {', '.join(names)}.")
        columns["group"] = group
    stem = posixpath.basename(location.path).rpartition(".")[0]
    named = location.parent if stem in NAMES else location
    return Table(location, named.data_set_name(), tuple(rows), columns)


def _is_table(name: str) -> bool:
    stem, _, suffix = name.lower().rpartition(".")
    return suffix == "jsonl" or (stem in NAMES and f".{suffix}" in SUFFIXES)


def _find(column: str, names: list[str], location: Location) -> str | None:
    found = [name for name in names if name.strip().lower() in COLUMNS[column]]
    if len(found) > 1:
        raise UsageError(f"{location.text} has several columns for the {column}: {', '.join(found)}. Keep one of them.")
    if not found and column in REQUIRED:
        raise UsageError(
            f"{location.text} has no column for the {column}. Expected one called {' or '.join(COLUMNS[column])}. "
            f"Its columns: {', '.join(names) or 'none'}."
        )
    return found[0] if found else None


def _parse(location: Location) -> tuple[list[Row], list[str]]:
    """All rows, and the names of the columns."""
    try:
        text = location.read().decode("utf-8-sig")
        if location.path.lower().endswith(".jsonl"):
            rows = list(_json_rows(text))
            return rows, list({name: None for row in rows for name in row.values})
        reader = csv.DictReader(
            io.StringIO(text, newline=""),
            delimiter="\t" if location.path.lower().endswith(".tsv") else ",",
            strict=True,
        )
        return list(_csv_rows(reader)), [name for name in reader.fieldnames or [] if name]
    except UnicodeDecodeError as error:
        raise DataDamaged(f"{location.text} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except csv.Error as error:
        raise DataDamaged(f"{location.text} is no table after line {reader.line_num}: {error}.") from None


def _csv_rows(reader: csv.DictReader[str]) -> Iterator[Row]:
    for values in reader:
        surplus = values.pop(None, None)  # where DictReader puts it
        yield Row(reader.line_num, values, "more values than columns" if surplus else "")


def _json_rows(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        yield Row(number, values) if isinstance(values, dict) else Row(number, {}, "not a JSON object")


def _conflict(candidate: Candidate, label: str, line: int) -> Problem:
    """A path that lines name with different labels: none is kept."""
    return Problem(
        ProblemKind.LABEL_CONFLICT, candidate.path, f"also in {candidate.label}: line {line} (above: {label})"
    )


def _candidate(row: Row, columns: Mapping[str, str]) -> Candidate:
    """Raises ValueError with the reason if the row is no good."""
    if row.fault:
        raise ValueError(row.fault)
    text = {column: _text(row.values.get(name), name) for column, name in columns.items()}
    for column in (*REQUIRED, "group"):
        if text.get(column) == "":
            raise ValueError(f"no {columns[column]}")
    split = text.get("split", "").lower()
    if split and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected train, validation, test or nothing")
    path = posixpath.normpath(text["path"])
    return Candidate(path, text["label"], SPLITS.get(split), text.get("group", ""), _weight(text.get("weight", "")))


def _text(value: Any, name: str) -> str:
    if isinstance(value, (dict, list)):
        raise ValueError(f"{name} is {json.dumps(value)}; expected a single value")
    text = "" if value is None else str(value).strip()
    if IMPOSSIBLE.search(text):
        raise ValueError(f"{name} holds characters that no name can have: {text!r}")
    return text


def _weight(text: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight is {text!r}; expected a number that is not negative")
    return weight


class _Files:
    """What lies below a folder, listed folder by folder as it is asked for: one request for many files."""

    def __init__(self, root: Location) -> None:
        self._root = root
        self._folders: dict[str, dict[str, Entry | Problem]] = {}

    def find(self, path: str) -> Entry | Problem:
        """The file at `path`, without '.' and inner '..', or what is wrong with it."""
        if OUTSIDE.match(path):
            return Problem(ProblemKind.OUTSIDE_LINK, path, "not below the table's folder")
        folder = posixpath.dirname(path)
        if folder not in self._folders:
            self._folders[folder] = self._list(folder)
        found = self._folders[folder].get(path, self._folders[folder].get(""))
        if isinstance(found, Problem):
            return Problem(found.kind, path, found.detail)
        if found is None or found.is_folder:
            return Problem(ProblemKind.MISSING, path, "a folder" if found else "no such file")
        return found

    def _list(self, folder: str) -> dict[str, Entry | Problem]:
        """By path; what is wrong with the folder itself, by ""."""
        if self._root.is_local:
            real = os.path.realpath(posixpath.join(self._root.path, folder))
            if not self._root.holds(real):
                return {"": Problem(ProblemKind.OUTSIDE_LINK, folder, f"{folder} leads outside of the table's folder")}
        if folder and not self._root.child(folder).is_folder():
            return {}
        entries, problems = self._root.entries(folder)
        faults = {"" if problem.path == (folder or ".") else problem.path: problem for problem in problems}
        return {entry.path: entry for entry in entries} | faults
