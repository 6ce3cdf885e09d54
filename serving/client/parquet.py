"""Rows in a Parquet file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from types import TracebackType

import pyarrow as pa
from pyarrow import parquet

from serving.client.done import Names
from serving.client.lines import Lines, Row
from serving.client.pictures import WrongUse

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("class", pa.string()),
        ("probability", pa.float64()),
        ("top", pa.list_(pa.struct([("class", pa.string()), ("probability", pa.float64())]))),
        ("model", pa.string()),
        ("version", pa.int64()),
    ]
)
# In memory at once.
ROWS = 8192


class Parquet:
    """A Parquet file that is there when all of its rows are.

    Nothing can be appended to such a file, and half of one cannot be read. So rows are appended to FILE.unfinished.jsonl, which
    a kill leaves whole, and `finish` makes the file of them: written aside, then renamed, then the rows are removed. Killed
    between the last two, a row is in both, and is not taken a second time. A file from an earlier run is copied in front.

    An `Output`, which tells what the methods raise.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unfinished = Lines(path.with_name(f"{path.name}.unfinished.jsonl"), SCHEMA.names)

    def __enter__(self) -> Parquet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unfinished.__exit__(kind, error, trace)

    def rows(self) -> Iterator[Row]:
        """Of each file, once; of those in the Parquet file only `file` and `model`."""
        yield from self._finished(["file", "model"])
        yield from self._waiting()

    def append(self, row: Row) -> None:
        """At the end of the rows that wait."""
        self._unfinished.append(row)

    def open(self) -> None:
        """Nobody else may write from now on."""
        next(self._finished(["file"]), None)  # or it is not ours to write to
        self._unfinished.open()

    def finish(self) -> None:
        """The rows become the file."""
        rows = self._waiting()
        first = next(rows, None)
        if first or not self.path.exists():
            self._rewrite(chain([first] if first else [], rows))
        self._unfinished.path.unlink(missing_ok=True)

    def _waiting(self) -> Iterator[Row]:
        finished = Names(row["file"] for row in self._finished(["file"]))
        return (row for row in self._unfinished.rows() if row["file"] not in finished)

    def _rewrite(self, rows: Iterator[Row]) -> None:
        aside = self.path.with_name(f".aside-{self.path.name}")
        with parquet.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
            if self.path.exists():
                for batch in parquet.ParquetFile(self.path).iter_batches(ROWS):
                    writer.write_batch(batch)
            while some := list(islice(rows, ROWS)):
                writer.write_table(pa.Table.from_pylist(some, SCHEMA))
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(self.path)

    def _finished(self, columns: list[str]) -> Iterator[Row]:
        if not self.path.exists():
            return
        try:
            file = parquet.ParquetFile(self.path)
        except pa.ArrowInvalid as error:
            raise WrongUse(f"{self.path} is no Parquet file: {error} Pass another file.") from error
        if file.schema_arrow != SCHEMA:
            raise WrongUse(
                f"{self.path} is no output of this command: expected the columns {', '.join(SCHEMA.names)}. "
                f"Received: {', '.join(file.schema_arrow.names)}. Pass another file."
            )
        for batch in file.iter_batches(ROWS, columns=columns):
            yield from batch.to_pylist()
