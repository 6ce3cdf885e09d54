"""Versions on disk that load at once, for tests of their life."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from serving.errors import DataLoss, NotFound
from serving.server.config import ModelConfig
from serving.server.model import ServedModel, Settings
from serving.server.retries import RetryPolicy

_numbers = itertools.count()


class FakeServable:
    """What requests use; it tells whether it was closed."""

    def __init__(self, loader: Loader, version: int) -> None:
        self.version = version
        self.closed = False
        self._loader = loader

    def close(self) -> None:
        self.closed = True
        self._loader.alive.remove(self)


class Loader:
    """Loads what `publish` wrote; `alive` are those that are not closed."""

    def __init__(self) -> None:
        self.alive: list[FakeServable] = []
        self.loads: list[int] = []
        self.before_load = lambda name, version: None

    def __call__(self, name: str, version: int, path: Path) -> FakeServable:
        self.before_load(name, version)
        self.loads.append(version)
        if (path / "saved_model.pb").read_text() != "good":
            raise DataLoss("this version is bad")
        servable = FakeServable(self, version)
        self.alive.append(servable)
        return servable


def check(path: Path) -> None:
    if not (path / "saved_model.pb").exists():
        raise NotFound("saved_model.pb is missing")


def publish(base_path: Path, version: int | str, content: str | None = "good") -> Path:
    """Writes a version aside and renames it into place; content None: its graph is missing."""
    aside = base_path / f"aside-{next(_numbers)}"
    aside.mkdir(parents=True)
    if content is not None:
        (aside / "saved_model.pb").write_text(content)
    return aside.rename(base_path / str(version))


def remove(base_path: Path, version: int | str) -> None:
    shutil.rmtree(base_path / str(version))


# Looks at the disk when told, and tries a failed version again only when its files change.
ON_DEMAND = Settings(poll_seconds=1000, retries=RetryPolicy(max_retries=0), check=check)


def served(base_path: Path, loader: Loader, settings: Settings = ON_DEMAND, **config) -> ServedModel:
    """A model whose steps the test takes itself."""
    model = ServedModel("m", loader, settings)
    model.apply(ModelConfig("m", base_path, **config))
    return model


def look(model: ServedModel) -> None:
    """Looks at the disk now, and takes steps until nothing is left to do."""
    model.apply(model.config)
    while model.step() == 0.0:
        pass


def states(model: ServedModel) -> dict[int, str]:
    return {status.version: status.state.name for status in model.statuses()}
