"""Looks into all pictures of a source, with all cores, and goes on where a stopped scan was."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pipelines.prepare.inspection import Record, inspect
from pipelines.prepare.observer import Observer
from pipelines.sources.base import Candidate, Source

Item = TypeVar("Item")
Result = TypeVar("Result")

# Records that a kill may lose.
CHUNK = 64


def scan(
    source: Source,
    candidates: Sequence[Candidate],
    known: dict[str, Record],
    max_pixels: int,
    remember: Callable[[Sequence[Record]], None],
    observer: Observer,
    stopping: Callable[[], bool],
) -> dict[str, Record]:
    """Records by path of all `candidates`; those in `known` are not looked into again while their stamp is the same.

    remember: is given new records as they come. Raises KeyboardInterrupt if asked to stop.
    """
    records = {c.path: known[c.path] for c in candidates if c.path in known and known[c.path].stamp == c.stamp}
    new = [candidate for candidate in candidates if candidate.path not in records]
    if new:
        observer.begin("Looking into pictures", len(candidates), len(records))
    chunk: list[Record] = []
    try:
        for record in in_order(lambda c: inspect(c.path, c.stamp, source.read, max_pixels), new, stopping):
            record = _with_known_split(record, known.get(record.path))
            records[record.path] = record
            chunk.append(record)
            observer.advance(problems=bool(record.kind))
            if len(chunk) == CHUNK:
                remember(chunk)
                chunk = []
    finally:
        if chunk:
            remember(chunk)
    return records


def _with_known_split(record: Record, before: Record | None) -> Record:
    """Only its stamp may be new."""
    if before is None or before.sha256 != record.sha256:
        return record
    return dataclasses.replace(record, split=before.split)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], stopping: Callable[[], bool]) -> Iterator[Result]:
    """What `work` gives for each item, in their order, computed by several threads a little ahead.

    Raises KeyboardInterrupt if asked to stop.
    """
    threads = 2 * (os.cpu_count() or 1)  # while some wait for the disk or for Python's lock, others compute
    waiting: collections.deque[Future[Result]] = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                if stopping():
                    raise KeyboardInterrupt
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
