"""What `prepare` remembers between its runs, in the folder .work of a data set: a record a picture that it looked into.

log.jsonl       records of a scan under way, in the order they were made; a line that a kill tore is ignored
scan.parquet    records of finished runs, by path; it holds file times, so unlike the rest of the folder it is not to be shared
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import files
from pipelines.errors import DataDamaged
from pipelines.prepare.inspection import Record

FOLDER = ".work"
LOG = "log.jsonl"
SCAN = "scan.parquet"

# As Python objects they take much more memory than in a table.
ROWS_AT_ONCE = 10_000

# Of no file.
NO_STAMP = "?"

_INTEGERS = pa.list_(pa.int64())
_TYPES: Mapping[str, Any] = {
    "width": pa.int32(),
    "height": pa.int32(),
    "size": pa.int64(),
    "sums": _INTEGERS,
    "squares": _INTEGERS,
    "thumbnail": pa.binary(),
}
SCHEMA = pa.schema([(field.name, _TYPES.get(field.name, pa.string())) for field in dataclasses.fields(Record)])


class Memory:
    """Of the data set in `folder`, for the pictures of one origin: whatever a record depends on besides the file."""

    def __init__(self, folder: Path, origin: Mapping[str, Any]) -> None:
        self._folder = folder / FOLDER
        self._scan, self._log = self._folder / SCAN, self._folder / LOG
        self._origin = json.dumps(origin, sort_keys=True)
        self._is_logging = False

    def finished_origin(self) -> dict[str, Any] | None:
        """The origin of the finished runs' records; None if there are none."""
        return json.loads(pq.read_schema(self._scan).metadata[b"cnn_tf"]) if self._scan.is_file() else None

    def finished(self) -> dict[str, Record]:
        """Records of finished runs by path. Raises DataDamaged."""
        if not self._scan.is_file():
            return {}
        try:
            batches = pq.read_table(self._scan).to_batches(max_chunksize=ROWS_AT_ONCE)
            return {row["path"]: _from_row(row) for batch in batches for row in batch.to_pylist()}
        except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are ValueErrors and KeyErrors
            raise DataDamaged(
                f"{self._scan} cannot be read ({' '.join(str(error).split())}). "
                f"Delete {self._folder.parent} and prepare it again."
            ) from error

    def is_of_this_origin(self) -> bool:
        """Whether the finished runs' records are."""
        return bool(self.finished_origin() == json.loads(self._origin))

    def unfinished(self) -> dict[str, Record]:
        """Records of a stopped scan of this origin by path."""
        return {record.path: record for record in self._unfinished()}

    def _unfinished(self) -> list[Record]:
        content = self._log.read_bytes() if self._log.is_file() else b""
        origin, *lines = content[: content.rfind(b"\n") + 1].decode().split("\n")
        return [_from_row(_from_json(line)) for line in lines if line] if origin == self._origin else []

    def append(self, records: Iterable[Record]) -> None:
        """Adds to the log, and flushes it."""
        if not self._is_logging:
            # Anew, without what a kill tore or what is of another origin.
            files.write(self._log, "".join(f"{line}\n" for line in (self._origin, *map(_to_json, self._unfinished()))))
            self._is_logging = True
        with self._log.open("a", encoding="utf-8") as file:
            file.writelines(_to_json(record) + "\n" for record in records)

    def forget(self, path: str) -> None:
        """Lets the next scan look into it again."""
        self.append([Record(path, NO_STAMP)])

    def save(self, records: Mapping[str, Record]) -> None:
        """Replaces all that is remembered."""
        rows = [vars(records[path]) for path in sorted(records)]
        with files.file_aside(self._scan) as aside:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA.with_metadata({"cnn_tf": self._origin})), aside)

    def end_log(self) -> None:
        """What is in the log is saved."""
        self._log.unlink(missing_ok=True)


def _from_row(row: Mapping[str, Any]) -> Record:
    return Record(**{**row, "sums": tuple(row["sums"]), "squares": tuple(row["squares"])})


def _to_json(record: Record) -> str:
    return json.dumps({**vars(record), "thumbnail": base64.b64encode(record.thumbnail).decode()})


def _from_json(line: str) -> dict[str, Any]:
    row = json.loads(line)
    return {**row, "thumbnail": base64.b64decode(row["thumbnail"])}
