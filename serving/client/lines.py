"""Rows in a CSV or JSON Lines file, of which a kill at any moment leaves whole ones."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol

from serving.client.pictures import WrongUse

Row = Mapping[str, Any]
Columns = Sequence[str]


class Format(NamedTuple):
    """How rows become text: what the file begins with, whether that is a line of its own, and a row each way.

    is_whole: whether bytes that end in a newline are a row, or a newline within one.
    """

    begin: Callable[[Columns], str]
    has_header: bool
    dump: Callable[[Row, Columns], str]
    load: Callable[[str, Columns], Row]
    is_whole: Callable[[bytes], bool]


def _csv_line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # by which it knows that both are to be quoted
    return text.getvalue().removesuffix("\r\n") + "\n"


def _load_csv(text: str, columns: Columns) -> Row:
    (values,) = csv.reader(io.StringIO(text, newline=""))
    return dict(zip(columns, values, strict=True))


def _load_json(text: str, columns: Columns) -> Row:
    row = json.loads(text)
    return {name: row[name] for name in columns}


FORMATS = {
    ".csv": Format(
        begin=_csv_line,
        has_header=True,
        dump=lambda row, columns: _csv_line([row[name] for name in columns]),
        load=_load_csv,
        is_whole=lambda row: row.count(b'"') % 2 == 0,
    ),
    ".jsonl": Format(
        begin=lambda columns: f'{{"{columns[0]}": ',
        has_header=False,
        dump=lambda row, columns: json.dumps({name: row[name] for name in columns}, ensure_ascii=False) + "\n",
        load=_load_json,
        is_whole=lambda row: True,
    ),
}


class Output(Protocol):
    """A file of rows, of which there is one for each file that was asked about; a context manager.

    All methods raise WrongUse for a file that holds something else, which is never overwritten, and OSError.
    """

    path: Path

    def __enter__(self) -> Output: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def rows(self) -> Iterator[Row]:
        """Whole rows that are there, with `file` and `model` at least."""

    def open(self) -> object:
        """Ready for `append`; nobody else may write from now on."""

    def append(self, row: Row) -> None:
        """It is there after a kill."""

    def finish(self) -> None:
        """All rows are there."""


class Lines:
    """A file of rows by its suffix, .csv or .jsonl, made at the first of them; `columns` are what it keeps of a row.

    Rows are appended, each in one piece, and half a row at the end, which a kill may leave, is cut off before. One process at a
    time may write. An `Output`, which tells what the methods raise.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._columns = columns
        self._format = FORMATS[path.suffix.lower()]
        self._file: BinaryIO | None = None

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def rows(self) -> Iterator[Row]:
        """Whole rows, as they were written; CSV has text alone."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            self._require_own(file)
            records = _records(file, self._format.is_whole)
            if self._format.has_header:
                next(records, None)
            for record in records:
                try:
                    yield self._format.load(record.decode(), self._columns)
                except (ValueError, KeyError, TypeError, csv.Error) as error:
                    raise WrongUse(
                        f"{self.path} has a row that is none of this command's: {record[:80]!r}. Pass another file, or mend it."
                    ) from error

    def append(self, row: Row) -> None:
        """At the end of the file, where others see it."""
        file = self.open()
        file.write(self._format.dump(row, self._columns).encode())
        file.flush()

    def open(self) -> BinaryIO:
        """The file for appending, at the end of its last whole row."""
        if self._file is None:
            self._file = self.path.open("a+b")
            self._lock(self._file)
            self._file.seek(0)
            self._require_own(self._file)
            end = sum(map(len, _records(self._file, self._format.is_whole)))
            self._file.truncate(end)
            if not end and self._format.has_header:
                self._file.write(self._format.begin(self._columns).encode())
                self._file.flush()
        return self._file

    def finish(self) -> None:
        """Nothing is left to do."""

    def _lock(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # removed since it was opened
                raise BlockingIOError
        except BlockingIOError as error:
            raise WrongUse(f"Another process writes to {self.path}. Wait for it, or pass another file.") from error

    def _require_own(self, file: BinaryIO) -> None:
        expected = self._format.begin(self._columns).encode()
        found = file.read(len(expected))
        file.seek(0)
        if not expected.startswith(found):
            raise WrongUse(
                f"{self.path} is no output of this command: expected a file that begins with {expected.decode()!r}. "
                f"Received: {found!r}. Pass another file."
            )


def _records(file: BinaryIO, is_whole: Callable[[bytes], bool]) -> Iterator[bytes]:
    """Whole rows, with their newline."""
    record = b""
    for line in file:
        record += line
        if line.endswith(b"\n") and is_whole(record):
            yield record
            record = b""
