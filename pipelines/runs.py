"""The run folder: everything about one training.

config.yaml          the effective configuration
environment.json     versions of libraries, platform, git revision, seed
history.jsonl        a line an epoch
checkpoints/STEP/    model.keras (with the optimizer's state) and progress.json: enough to go on
model.keras          the trained model; its presence means that the training is complete
classes.txt          a class name a line, in the order of the model's outputs
evaluation.json      written by evaluate
report/              written by evaluate
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import config as configuration
from pipelines import files
from pipelines.config import TrainConfig
from pipelines.errors import DataDamaged, UsageError

if TYPE_CHECKING:
    from pipelines.manifest import DataSet

LIBRARIES = ("cnn-tf", "tensorflow", "keras", "numpy")


@dataclass
class Progress:
    """How far a training has come: optimizer steps done, finished epochs, and sums over the epoch under way."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    correct: int = 0
    examples: int = 0
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The last finished one, counted from 1; 0 for none."""
        return int(self.history[-1]["epoch"]) if self.history else 0


class Run:
    """A run folder, new or old."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model.keras"
        self.evaluation = folder / "evaluation.json"
        self.report = folder / "report"
        self._config = folder / "config.yaml"
        self._history = folder / "history.jsonl"
        self._checkpoints = folder / "checkpoints"
        self._class_names = folder / "classes.txt"

    @property
    def is_begun(self) -> bool:
        """Whether a training was ever started here."""
        return self._config.is_file()

    @property
    def is_complete(self) -> bool:
        """Whether the training reached its end."""
        return self.model.is_file()

    @property
    def config(self) -> TrainConfig:
        """The configuration that it was started with. Raises UsageError."""
        if not self.is_begun:
            raise UsageError(f"{self.folder} is not a run folder (config.yaml is missing). Train first: cnn-tf train.")
        return configuration.from_file(self._config)

    @property
    def history(self) -> list[dict[str, float]]:
        """Finished epochs."""
        if not self._history.exists():
            return []
        return [_parse(line, self._history) for line in self._history.read_text().splitlines()]

    @property
    def environment(self) -> dict[str, str]:
        """What `begin` noted."""
        path = self.folder / "environment.json"
        return dict(_parse(path.read_text(), path))

    def read_evaluation(self) -> dict[str, Any] | None:
        """What `evaluate` wrote, if it did. Raises DataDamaged."""
        return dict(_parse(self.evaluation.read_text(), self.evaluation)) if self.evaluation.is_file() else None

    @property
    def class_names(self) -> list[str]:
        """What `write_class_names` wrote. Raises UsageError if an earlier version of this package made the run."""
        if not self._class_names.is_file():
            raise UsageError(
                f"{self._class_names} is missing: the run is of an earlier version. Train it anew under another --name."
            )
        return self._class_names.read_text().splitlines()

    def write_class_names(self, names: Sequence[str]) -> None:
        """Keeps the names of the model's classes, in the order of its outputs."""
        files.write(self._class_names, "".join(f"{name}\n" for name in names))

    def require_classes(self, data: DataSet) -> None:
        """Raises UsageError unless the model's classes are those of the data set."""
        if self.class_names != data.class_names:
            raise UsageError(
                f"The model in {self.folder} knows other classes than the data set {data.name}: "
                f"{', '.join(map(str, set(self.class_names) ^ set(data.class_names)))[:200] or 'the order differs'}. "
                "Train a new run on the data set as it is now."
            )

    def require_complete(self) -> None:
        """Raises UsageError unless the training is complete."""
        if self.is_complete:
            return
        if self.is_begun:
            raise UsageError(
                f"The run {self.folder} is not finished. Go on with the command that began it: cnn-tf train ..."
            )
        others = sorted(path.parent.name for path in self.folder.parent.glob("*/config.yaml"))
        there = f"Runs there: {', '.join(others)}." if others else "Train first: cnn-tf train."
        raise UsageError(f"The run {self.folder} does not exist. {there}")

    def lock(self) -> AbstractContextManager[None]:
        """Keeps other processes from training here. Raises RunBusy."""
        return files.lock(self.folder)

    def begin(self, config: TrainConfig, **facts: str) -> None:
        """Notes configuration, environment and `facts`, or checks that an old run has the same configuration.

        Raises UsageError.
        """
        if not self.is_begun:
            text = json.dumps(environment(config.seed) | facts, indent=2)
            files.write(self.folder / "environment.json", text + "\n")
            files.write(self._config, config.to_yaml())
            return
        changed = _differences(self.config.model_dump(), config.model_dump())
        if changed:
            raise UsageError(
                f"The run {self.folder} was begun with other settings: {', '.join(changed)}. "
                "Train under another name (cnn-tf train ... --name NAME), or delete the folder."
            )
        if facts.get("data") != self.environment.get("data") and "data" in facts:
            raise UsageError(
                f"The run {self.folder} was begun when the data set {config.data.source} had other examples. "
                "Train under another name (cnn-tf train ... --name NAME), or delete the folder."
            )

    def save_checkpoint(self, model: Any, progress: Progress) -> None:
        """Keeps the state after `progress.step` steps and forgets older ones; `model` is compiled with its optimizer."""
        folder = self._checkpoints / f"{progress.step:08d}"
        if not folder.exists():
            with files.folder_aside(folder) as aside:
                model.save(aside / "model.keras")
                (aside / "progress.json").write_text(json.dumps(asdict(progress)))
        for old in self._checkpoint_folders()[:-1]:
            shutil.rmtree(old)

    def load_checkpoint(self) -> tuple[Path, Progress] | None:
        """The newest checkpoint's model file and progress, if there is one."""
        folders = self._checkpoint_folders()
        if not folders:
            return None
        path = folders[-1] / "progress.json"
        progress = Progress(**_parse(path.read_text(), path))
        return folders[-1] / "model.keras", progress

    def write_history(self, history: Sequence[dict[str, float]]) -> None:
        """Replaces the history."""
        files.write(self._history, "".join(json.dumps(epoch) + "\n" for epoch in history))

    def save_model(self, model: Any) -> None:
        """Writes the trained model, which completes the run."""
        with files.file_aside(self.model) as aside:
            model.save(aside)

    def _checkpoint_folders(self) -> list[Path]:
        return sorted(path for path in self._checkpoints.glob("*") if path.name.isdigit())


def find(name: str, runs: Path) -> Run:
    """The run with this name in the folder `runs`, or at this path."""
    path, named = Run(Path(name)), Run(runs / name)
    return path if len(path.folder.parts) > 1 or (path.is_begun and not named.is_begun) else named


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataDamaged(f"{path} is damaged ({error}). Delete it, or its folder if that does not help.") from error


def environment(seed: int) -> dict[str, str]:
    """What a result may depend on besides the configuration."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    revision = _git_revision()
    return {
        "python": platform.python_version(),
        **versions,
        "platform": platform.platform(),
        "seed": str(seed),
        **({"git": revision} if revision else {}),
    }


def _git_revision() -> str | None:
    """Of the working folder, with a plus if it has changes."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for name, value in new.items():
        if isinstance(value, dict):
            changed += _differences(old[name], value, f"{prefix}{name}.")
        elif old[name] != value:
            changed.append(f"{prefix}{name} {old[name]} instead of {value}")
    return changed
