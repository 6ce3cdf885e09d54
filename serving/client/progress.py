"""How far a command is, on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} pictures/s")


def shown(items: Iterable[Item], console: Console, count: Callable[[], int]) -> Iterator[Item]:
    """The items, with a bar, the rate and the time left if the console is a terminal.

    count: how many there will be; called in a thread, since a walk through many folders takes its time.
    """
    if not console.is_terminal:
        yield from items
        return
    columns = (TextColumn("Classifying"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def tell_total() -> None:
            with suppress(OSError):  # which the walk itself will raise
                progress.update(task, total=count())

        threading.Thread(target=tell_total, daemon=True).start()
        for item in items:
            yield item
            progress.advance(task)
