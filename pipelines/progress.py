"""Shows how a training goes: a live bar on a terminal, and a line an epoch anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines import runs


class ProgressObserver:
    """An `Observer` of `train` that writes to a console; use `showing`."""

    def __init__(self, console: Console, bar: Progress) -> None:
        self._console = console
        self._bar = bar
        self._task = bar.add_task("epoch 1", total=None, throughput="", loss="")
        self._epochs = 0

    def begin(self, run: Path, first_step: int, steps: int, epochs: int) -> None:
        """Training starts, or goes on after `first_step` of `steps` steps, which are `epochs` epochs."""
        self._epochs = epochs
        if first_step:
            self._console.print(f"Going on in {run} after step {first_step} of {steps}", soft_wrap=True)
        else:
            self._console.print(
                f"Training in {run}: {epochs} epoch{'s' * (epochs != 1)}, {steps} steps", soft_wrap=True
            )
        # The rate is measured from here, so steps of an earlier process don't count into the remaining time.
        self._bar.reset(self._task, total=steps, completed=first_step, throughput="", loss="")

    def step(self, progress: runs.Progress) -> None:
        """A step is done."""
        self._bar.update(
            self._task,
            completed=progress.step,
            description=f"epoch {progress.epoch + 1}/{self._epochs}",
            throughput=f"{progress.examples / progress.seconds:,.0f} pictures/s",
            loss=f"loss {progress.loss_sum / progress.examples:.3f}",
        )

    def epoch(self, row: dict[str, float]) -> None:
        """An epoch is done."""
        validation = f"  validation {row['validation_accuracy']:.1%}" if "validation_accuracy" in row else ""
        self._console.print(
            f"  epoch {row['epoch']:>3}/{self._epochs}  loss {row['loss']:.3f}  accuracy {row['accuracy']:.1%}{validation}"
            f"  {row['seconds']:.1f} s, {row['examples_per_second']:,.0f} pictures/s",
            soft_wrap=True,
        )


@contextmanager
def showing(console: Console) -> Iterator[ProgressObserver]:
    """An observer whose bar is on the console for the time of the block."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[throughput]}"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield ProgressObserver(console, bar)
