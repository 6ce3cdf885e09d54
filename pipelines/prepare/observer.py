"""Shows how far a preparation is: a live bar on a terminal, a line a tenth of the way elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Observer(Protocol):
    """Is told how a preparation goes."""

    def begin(self, work: str, files: int, done: int = 0) -> None:
        """Work of a kind, such as "Looking into pictures", begins; `done` of the files are from an earlier run."""

    def advance(self, problems: int = 0) -> None:
        """One more file is done; it has so many problems."""

    def note(self, text: str) -> None:
        """A line that people should see."""


class SilentObserver:
    """Says nothing."""

    def begin(self, work: str, files: int, done: int = 0) -> None:
        """Nothing."""

    def advance(self, problems: int = 0) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class ConsoleObserver:
    """Writes to a console; use `showing`."""

    def __init__(self, console: Console, bar: Progress) -> None:
        self._console, self._bar = console, bar
        self._task: TaskID | None = None
        self._work = ""
        self._files = self._done = self._problems = 0

    def begin(self, work: str, files: int, done: int = 0) -> None:
        """A new bar."""
        self._work, self._files, self._done, self._problems = work, files, done, 0
        gone_on = f", {done:,} of them in an earlier run" if done else ""
        self.note(f"{work}: {files:,} files{gone_on}")
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(work, total=files, completed=done, rate="", problems="")

    def advance(self, problems: int = 0) -> None:
        """The bar grows."""
        self._done += 1
        self._problems += problems
        if self._task is not None and not self._bar.disable:
            self._show_bar(self._task)
        elif self._done * 10 // self._files > (self._done - 1) * 10 // self._files and self._done < self._files:
            self.note(f"  {self._done:,} of {self._files:,}{self._with_problems()}")

    def note(self, text: str) -> None:
        """Above the bar."""
        self._console.print(text, soft_wrap=True)

    def _show_bar(self, task: TaskID) -> None:
        speed = self._bar.tasks[self._bar.task_ids.index(task)].speed
        rate = f"{speed:,.0f} files/s" if speed else ""
        self._bar.update(task, advance=1, rate=rate, problems=self._with_problems())

    def _with_problems(self) -> str:
        return f", {self._problems:,} problem{'s' * (self._problems != 1)}" if self._problems else ""


@contextmanager
def showing(console: Console) -> Iterator[ConsoleObserver]:
    """An observer whose bar is on the console for the time of the block."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}{task.fields[problems]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield ConsoleObserver(console, bar)
