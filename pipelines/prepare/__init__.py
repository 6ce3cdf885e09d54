r"""Makes a data set folder of any source of pictures: faults named, splits fixed, pictures packed.

    source ── list ──▶ candidates ── scan ──▶ records ── arrange ──▶ rows, problems ── publish ──▶ folder
               sources/              inspection.py       duplicates.py, splits.py,      shards.py, manifest.py
                                     memory.py           near_duplicates.py             statistics.py

A stopped preparation goes on where it was with the same call. What a folder holds is a function of the pictures, their
labels and the settings, and of nothing else; only .work/, the memory of `prepare` for its next run, has file times in it.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines import files, manifest
from pipelines.errors import DataDamaged, TooManyProblems, UsageError
from pipelines.interrupt import asked_to_stop
from pipelines.prepare import shards, statistics
from pipelines.prepare.arrangement import Arrangement, ClassOrder, arrange
from pipelines.prepare.inspection import Record
from pipelines.prepare.memory import Memory
from pipelines.prepare.observer import Observer
from pipelines.prepare.scan import in_order, scan
from pipelines.prepare.settings import Settings
from pipelines.prepare.shards import Row
from pipelines.problems import Problem, to_csv
from pipelines.sources.base import Candidate, Source

PROBLEMS = "problems.csv"
STATISTICS = "statistics.json"
CLASSES = "classes.txt"
REPORT = "report.html"


@dataclass(frozen=True)
class Prepared:
    """What came of it."""

    folder: Path
    added: int
    """Pictures that joined."""
    splits: dict[str, int]
    """Split -> pictures, of the whole data set."""
    problems: dict[str, int]
    """ProblemKind -> how often."""


@dataclass(frozen=True)
class _Work:
    """Everything known before anything is published."""

    source: Source
    folder: Path
    settings: Settings
    observer: Observer
    memory: Memory
    facts: dict[str, Any] | None
    """Of the data set so far."""
    prepared: list[Row]
    remembered: dict[str, Record]
    """By finished runs."""
    records: dict[str, Record]
    arrangement: Arrangement

    @property
    def result(self) -> Prepared:
        counts = collections.Counter(row["split"] for row in (*self.prepared, *self.arrangement.rows))
        problems = collections.Counter(problem.kind for problem in self.arrangement.problems)
        splits = {split: counts[split] for split in manifest.SPLITS if counts[split]}
        return Prepared(self.folder, len(self.arrangement.rows), splits, dict(sorted(problems.items())))


def prepare(source: Source, folder: Path, settings: Settings, observer: Observer) -> Prepared:
    """Makes the data set `folder`, or adds to it what is new in the source. The source is only read.

    Raises UsageError if the folder was made of another source or with other settings, or if there are fewer than two
    classes; TooManyProblems; DataDamaged if a file changed meanwhile; RunBusy. Ctrl-C or SIGTERM: KeyboardInterrupt.
    """
    _require_apart(source, folder)
    with files.lock(folder), asked_to_stop() as stopping:
        memory = Memory(folder, _origin(source, settings))
        work = _gather(source, folder, settings, observer, memory, memory.append, stopping)
        try:
            _require_good(work)
        except (TooManyProblems, UsageError):
            _write_problems(work)
            raise
        _publish(work, stopping)
        return work.result


def rehearse(source: Source, folder: Path, settings: Settings, observer: Observer) -> Prepared:
    """What `prepare` would come to. Looks into the pictures, writes nothing. Raises as it does."""
    with asked_to_stop() as stopping:
        memory = Memory(folder, _origin(source, settings))
        work = _gather(source, folder, settings, observer, memory, lambda records: None, stopping)
        _require_good(work)
        return work.result


def _require_apart(source: Source, folder: Path) -> None:
    """A data set among the pictures would be taken for pictures the next time."""
    if source.root and folder.resolve().is_relative_to(source.root):
        raise UsageError(
            f"The data set must not lie in the folder of its pictures, {source.root}. Received: {folder}. "
            "Choose another --data or --name."
        )


def _origin(source: Source, settings: Settings) -> dict[str, Any]:
    return {"source": source.name, "root": source.root, "max_pixels": settings.max_pixels}


def _gather(
    source: Source,
    folder: Path,
    settings: Settings,
    observer: Observer,
    memory: Memory,
    remember: Callable[[Sequence[Record]], None],
    stopping: Callable[[], bool],
) -> _Work:
    prepared, facts = _published(folder)
    if facts is not None:
        _require_same(folder, facts["settings"], settings.lasting(), "other settings")
        _require_same(folder, memory.finished_origin(), _origin(source, settings), "another source")
    if not settings.sharded and not source.root:
        raise UsageError(f"The pictures of {source.name} are no files: they must be copied into shards.")
    before = memory.finished() if facts is not None or memory.is_of_this_origin() else {}
    candidates, listed = source.list()
    known = {**before, **memory.unfinished()}
    records = scan(source, candidates, known, settings.max_pixels, remember, observer, stopping)
    _keep_prepared(folder, prepared, before, records, settings, observer)
    order = ClassOrder(facts["class_names"] if facts else [], source.class_names)
    arrangement = arrange(candidates, listed, records, prepared, order, settings.keep | source.kept, settings)
    return _Work(source, folder, settings, observer, memory, facts, prepared, before, records, arrangement)


def _published(folder: Path) -> tuple[list[Row], dict[str, Any] | None]:
    if not (folder / manifest.MANIFEST).is_file():
        return [], None
    table, facts = manifest.read(folder)
    return table.to_pylist(), facts


def _require_same(folder: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any], what: str) -> None:
    if before is None:
        raise DataDamaged(f"The memory of the data set in {folder} is lost. Delete the folder and prepare it again.")
    if differing := [f"{key}: {before.get(key)}, now {now[key]}" for key in now if before.get(key) != now[key]]:
        raise UsageError(
            f"The data set in {folder} was made with {what} ({'; '.join(differing)}). "
            "Repeat them, choose another name, or delete the folder."
        )


def _keep_prepared(
    folder: Path,
    prepared: Sequence[Row],
    before: Mapping[str, Record],
    records: dict[str, Record],
    settings: Settings,
    observer: Observer,
) -> None:
    """What is in the data set stays as it was looked into then; puts those records in `records`."""
    gone = [row["path"] for row in prepared if row["path"] not in records]
    changed = [row["path"] for row in prepared if row["path"] in records and _differs(row, records[row["path"]])]
    for path in (*gone, *changed):
        if path not in before:
            raise DataDamaged(
                f"The memory of the data set in {folder} lacks {path}. Delete the folder and prepare again."
            )
        records[path] = before[path]
    if changed and not settings.sharded:
        raise DataDamaged(
            f"{_files(changed)} of the data set in {folder} have changed. Delete the folder and prepare it again."
        )
    for paths, what in ((gone, "gone from the source"), (changed, "changed in the source")):
        if paths:
            observer.note(
                f"{_files(paths)} {what}: the data set keeps them as they were. To build it anew, delete {folder}."
            )


def _differs(row: Row, record: Record) -> bool:
    return bool(record.sha256 != row["sha256"])


def _files(paths: Sequence[str]) -> str:
    """How many, and the first of them."""
    return f"{len(paths):,} file{'s' * (len(paths) != 1)} (such as {paths[0]})"


def _require_good(work: _Work) -> None:
    """Raises UsageError for no data set at all, TooManyProblems for one that should not be used unseen."""
    arrangement, settings = work.arrangement, work.settings
    left_out = f"{len(arrangement.left_out):,} of {arrangement.files:,} files have problems"
    if arrangement.left_out:
        left_out += f" ({_by_kind(arrangement.left_out)})"
    if not arrangement.class_names:
        raise UsageError(f"There is no usable picture in {work.source.name}; {left_out}.")
    if len(arrangement.class_names) == 1:
        raise UsageError(
            f"All usable pictures in {work.source.name} are of class {arrangement.class_names[0]!r}. "
            f"Expected two classes or more; {left_out}."
        )
    if settings.on_error == "fail" and len(arrangement.left_out) > settings.max_errors * arrangement.files:
        raise TooManyProblems(
            f"{left_out}. At most {settings.max_errors:.1%} may have, so nothing is published. "
            "Mend them, or leave them out with --on-error skip."
        )


def _by_kind(problems: Sequence[Problem]) -> str:
    counts = collections.Counter(problem.kind for problem in problems)
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))


def _publish(work: _Work, stopping: Callable[[], bool]) -> None:
    rows = work.arrangement.rows
    is_news = to_csv(work.arrangement.problems) != _text(work.folder / PROBLEMS)
    if rows and work.settings.sharded:
        _write_shards(work, stopping)
    _remember(work)
    if not rows and not is_news and work.facts:
        work.observer.note(f"Nothing to add to {work.folder}")
        return
    table, facts = _table(work), _facts(work)
    _write_problems(work)
    files.write(work.folder / CLASSES, "".join(f"{name}\n" for name in facts["class_names"]))
    files.write(work.folder / STATISTICS, json.dumps(_statistics(work, table), indent=2, ensure_ascii=False) + "\n")
    _note_absent_classes(work)
    if rows:
        manifest.write(work.folder, table, facts)


def _remember(work: _Work) -> None:
    records = {path: _with_split(record, work.arrangement) for path, record in work.records.items()}
    if records != work.remembered:
        work.memory.save(records)
    work.memory.end_log()


def _with_split(record: Record, arrangement: Arrangement) -> Record:
    return dataclasses.replace(record, split=arrangement.splits.get(record.path, record.split))


def _write_shards(work: _Work, stopping: Callable[[], bool]) -> None:
    rows, taken = work.arrangement.rows, {row["shard"] for row in work.prepared}
    shards.clear(work.folder, taken)
    classes = {name: number for number, name in enumerate(work.arrangement.class_names)}
    work.observer.begin("Packing pictures", len(rows))

    def read(row: Row) -> bytes:
        try:
            return shards.read_unchanged(row, work.source.read)
        except DataDamaged:
            work.memory.forget(row["path"])
            raise

    for name, part in shards.plan(rows, work.settings.shards, taken).items():
        encoded = (_advancing(data, work.observer) for data in in_order(read, part, stopping))
        shards.write(work.folder / manifest.SHARDS / name, part, encoded, classes)


def _advancing(data: bytes, observer: Observer) -> bytes:
    observer.advance()
    return data


def _table(work: _Work) -> pa.Table:
    """Of the whole data set: what was there, then what joins, by split and id."""
    new = sorted(work.arrangement.rows, key=lambda row: (manifest.SPLITS.index(row["split"]), row["id"]))
    return pa.Table.from_pylist([*work.prepared, *new], manifest.SCHEMA)


def _facts(work: _Work) -> dict[str, Any]:
    return {
        "name": work.folder.name,
        "source": work.source.name,
        "class_names": work.arrangement.class_names,
        "sharded": work.settings.sharded,
        "root": "" if work.settings.sharded else work.source.root,
        "settings": work.settings.lasting(),
    }


def _statistics(work: _Work, table: pa.Table) -> dict[str, Any]:
    return statistics.describe(table, work.arrangement.class_names, work.records, work.arrangement.problems)


def _write_problems(work: _Work) -> None:
    """problems.csv and the report, which shows them."""
    files.write(work.folder / PROBLEMS, to_csv(work.arrangement.problems))
    if problems := work.arrangement.problems:
        work.observer.note(f"{len(problems):,} problem{'s' * (len(problems) != 1)}: see {work.folder / PROBLEMS}")
    from pipelines.reports import data as report  # after the scan: it takes a while to be imported

    table = _table(work)
    facts, counts = _facts(work), _statistics(work, table)
    page = report.render(work.folder.name, table, facts, counts, work.arrangement.problems, work.source.read)
    files.write(work.folder / REPORT, page)


def _note_absent_classes(work: _Work) -> None:
    """A class that a split lacks cannot be judged by it."""
    there = {(row["split"], row["label"]) for row in (*work.prepared, *work.arrangement.rows)}
    for split in work.result.splits:
        absent = [name for name in work.arrangement.class_names if (split, name) not in there]
        if absent:
            work.observer.note(
                f"No picture of {len(absent):,} class{'es' * (len(absent) != 1)} is in {split}: {absent[0]}"
                + (", ..." if len(absent) > 1 else "")
            )


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


__all__ = ["Candidate", "Prepared", "Settings", "Source", "prepare", "rehearse"]
