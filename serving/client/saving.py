"""`cnn-tf predict --output`: answers to a file, each picture once, however often the command is stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from serving.client import pictures
from serving.client.done import Names, digest
from serving.client.lines import Lines, Output
from serving.client.pictures import Answer, WrongUse

SUFFIXES = (".csv", ".jsonl", ".parquet")
_COLUMNS = {
    ".csv": ("file", "class", "probability", "model", "version"),
    ".jsonl": ("file", "class", "probability", "top", "model", "version"),
}
_REASONS = ("file", "reason", "model")


def output(path: Path) -> Output:
    """By the suffix of its name. Raises WrongUse for another."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        from serving.client.parquet import Parquet

        return Parquet(path)
    if suffix not in _COLUMNS:
        raise WrongUse(f"--output ends in {', '.join(SUFFIXES)}. Received: {str(path)!r}.")
    return Lines(path, _COLUMNS[suffix])


def failures(path: Path) -> Lines:
    """By the suffix of its name. Raises WrongUse for another."""
    if path.suffix.lower() not in _COLUMNS:
        raise WrongUse(f"--failures ends in {' or '.join(_COLUMNS)}. Received: {str(path)!r}.")
    return Lines(path, _REASONS)


class Job:
    """Pictures, and where answers and failures go; what is there already is done.

    classified, failed: how many are there.

    Raises WrongUse for files of another model.
    """

    def __init__(self, paths: Sequence[str], model: str, output: Output, failures: Lines) -> None:
        self._paths, self._model, self._output, self._failures = paths, model, output, failures
        self._done = Names(chain(self._names(output), self._names(failures)))
        self.failed = sum(1 for _ in failures.rows())
        self.classified = len(self._done) - self.failed

    def todo(self) -> Iterator[Path]:
        """Pictures that are not done, each once, in the order of the disk."""
        seen: set[int] = set()
        may_repeat = len(self._paths) > 1 or not Path(self._paths[0]).is_dir()  # one within another, or "**"
        for path in pictures.find(self._paths):
            name = pictures.name_of(path)
            if name in self._done:
                continue
            if may_repeat:
                if digest(name) in seen:
                    continue
                seen.add(digest(name))
            yield path

    def keep(self, answer: Answer) -> None:
        """Writes it to where it belongs."""
        if answer.error:
            self._failures.append({"file": answer.name, "reason": answer.error, "model": self._model})
            self.failed += 1
        else:
            self._output.append({**answer.row(), "model": self._model})
            self.classified += 1

    def _names(self, file: Output) -> Iterator[str]:
        for row in file.rows():
            if row["model"] != self._model:
                raise WrongUse(
                    f"{file.path} is of the model {row['model']}. Pass another file for {self._model}, or delete it."
                )
            yield row["file"]
