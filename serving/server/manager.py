"""All models of a server: which there are, and lending their versions to requests.

Each model looks after its own versions (`model.ServedModel`), so one bad path or slow load delays no other.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serving import errors
from serving.server import labels
from serving.server.config import ModelConfig
from serving.server.lending import Lent
from serving.server.model import Load, ServedModel, Settings
from serving.server.versions import State, VersionStatus

if TYPE_CHECKING:
    from serving.server.servable import Servable

__all__ = ["Lent", "Load", "Manager", "Settings", "State", "VersionStatus"]

# So many models load at once.
LOAD_THREADS = 4 * (os.cpu_count() or 1)


class Manager:
    """The models by name."""

    def __init__(
        self,
        models: Sequence[ModelConfig],
        load: Load,
        settings: Settings | None = None,
        *,
        allow_labels_for_unavailable: bool = False,
    ) -> None:
        """allow_labels_for_unavailable: whether a reload may point new labels at versions that are not loaded yet."""
        self._load_servable = load
        self._settings = settings or Settings()
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._load_slots = threading.BoundedSemaphore(LOAD_THREADS)
        self._reloading = threading.Lock()
        self._started = False
        self._models: dict[str, ServedModel] = {}  # those removed stay, since their versions are still told of
        self._apply(models, scan=self._settings.poll_seconds >= 0)

    @property
    def configs(self) -> list[ModelConfig]:
        """Of the models that are served, by name."""
        return [model.config for _, model in sorted(self._models.items()) if model.config is not None]

    @property
    def names(self) -> list[str]:
        """Of the models that are served, sorted."""
        return [config.name for config in self.configs]

    def start(self) -> None:
        """Loads what is there; returns when each model has a version available, or none that could be."""
        with self._reloading:
            self._started = True
            models = list(self._models.values())
            for model in models:
                model.start()
        for model in models:
            model.settled.wait()

    def end_reloads(self) -> None:
        """Those that wait for a model do so no longer."""
        for model in self._models.values():
            model.settled.set()

    @property
    def is_loading(self) -> bool:
        """Whether a version of any model is being loaded."""
        return any(model.is_loading for model in self._models.values())

    def stop(self, timeout: float) -> bool:
        """Unloads everything once no request uses it, but waits for no version that is being loaded (`is_loading`).

        Returns whether no request was left within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        models = list(self._models.values())
        for model in models:  # all begin at once
            model.stop(0)
        stopped = [model.stop(max(end - time.monotonic(), 0)) for model in models]
        return all(stopped)

    def borrow(self, name: str, version: int | None = None, label: str | None = None) -> Lent:
        """Lends a version to a request: the one asked for by number or label, or else the highest available one.

        Release it, or use it in a `with` block. Raises InvalidArgument for an empty name or an unknown label, NotFound for
        what is not available.
        """
        if not name:
            raise errors.InvalidArgument("ModelSpec has no name specified.")
        model = self._models.get(name)
        if label is not None:
            return self._borrow_by_label(model, name, label)
        lent = model.borrow(version) if model else None
        if lent is None:
            raise _not_found(name, version)
        return lent

    def _borrow_by_label(self, model: ServedModel | None, name: str, label: str) -> Lent:
        version = None
        while model is not None and (moved := model.labels.get(label)) != version:
            version = moved
            if version is not None and (lent := model.borrow(version)) is not None:
                return lent
            # Not there, or the label was moved and its former version unloaded between the two lines.
        if version is None:
            raise errors.InvalidArgument(f"Unrecognized servable version label: {label}")
        raise _not_found(name, version)

    lend = borrow

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Of all versions of a model, the highest first, or of one. Raises NotFound."""
        model = self._models.get(name)
        found = [status for status in (model.statuses() if model else []) if version in (None, status.version)]
        if not found:
            missing = "any versions" if version is None else f"version {version}"
            raise errors.NotFound(f"Could not find {missing} of model {name}")
        return found

    def readiness(self) -> dict[str, bool | str]:
        """True, or why no version is available, for each model by name."""
        reasons = {name: self._models[name].unavailability() for name in self.names}
        return {name: _text(*reason) if reason else True for name, reason in reasons.items()}

    def reload(
        self, configs: Sequence[ModelConfig], *, timeout: float | None = None, defer_labels: bool = False
    ) -> None:
        """Serves these models and no others from now on; returns once each new one has its versions available.

        timeout: how long to wait for them, seconds; None: until each is settled. None waits for ever, since a base path
            without versions, and files that change for a minute, count as failed. What is awaited comes later anyhow.
        defer_labels: whether labels may point at versions that are not available; those that move do so when they are.

        Raises FailedPrecondition, before anything changes, for a label that may not point where it should, and ServingError
        (UNKNOWN) for new models that did not become available.
        """
        with self._reloading:
            if not defer_labels:
                self._require_assignable_labels(configs)
            new = {config.name for config in configs}.difference(self.names)
            self._apply(configs)
        awaited = [self._models[name] for name in sorted(new)]
        end = None if timeout is None else time.monotonic() + timeout
        for model in awaited:
            model.settled.wait(None if end is None else max(end - time.monotonic(), 0))
        _require_available(awaited)

    def _apply(self, configs: Sequence[ModelConfig], *, scan: bool = True) -> None:
        wanted = {config.name: config for config in configs}
        new = {name: ServedModel(name, self._load, self._settings) for name in wanted.keys() - self._models.keys()}
        self._models = {**self._models, **new}  # never changed, so that others can read it without a lock
        for name, model in self._models.items():
            model.apply(wanted.get(name), scan=scan)
        if self._started:
            for model in new.values():
                model.start()

    def _require_assignable_labels(self, configs: Sequence[ModelConfig]) -> None:
        for config in configs:
            model = self._models.get(config.name)
            labels.require_assignable(
                config.name,
                config.labels,
                model.labels if model else {},
                model.is_available if model else lambda _: False,
                allow_unavailable=self._allow_labels_for_unavailable,
            )

    def _load(self, name: str, version: int, path: Path) -> Servable:
        with self._load_slots:
            return self._load_servable(name, version, path)


def _not_found(name: str, version: int | None) -> errors.NotFound:
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return errors.NotFound(f"Servable not found for request: {asked}")


def _require_available(models: Sequence[ServedModel]) -> None:
    reasons = {model.name: reason for model in models if (reason := model.unavailability())}
    if not reasons:
        return
    listed = "".join(
        f"{{{_id(name, version)} due to error: {_status(error)}}}, " for name, (version, error) in reasons.items()
    )
    raise errors.ServingError(f"{len(reasons)} model(s) did not become available: {{{listed}}}")


def _id(name: str, version: int | None) -> str:
    return f"{{name: {name}}}" if version is None else f"{{name: {name} version: {version}}}"


def _status(error: errors.ServingError) -> str:
    return f"{error.code.name}: {error.message}"


def _text(version: int | None, error: errors.ServingError) -> str:
    return error.message if version is None else f"version {version}: {error.message}"
