"""Keeps the wanted versions of every model loaded, and lends them to requests.

Each model has a thread of its own that looks at its base path, so one bad path or slow load delays nobody else. The highest
new version is loaded before an old one is unloaded; a version that fails to load leaves the old one serving and is tried
again when its files change. Unloading waits for the requests that still use the version.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving import errors
from serving.server import storage
from serving.server.config import ModelConfig
from serving.server.servable import Servable

_log = logging.getLogger(__name__)

Load = Callable[[str, Path], Servable]
"""Model name and version folder -> loaded and warmed-up servable. Raises ServingError."""

# How soon to look again at a version that is still being written, seconds.
PENDING_SECONDS = 0.25


class State(enum.IntEnum):
    """Of a version, with TensorFlow Serving's numbers (get_model_status.proto)."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus tells of one version. `error` is None unless loading it failed."""

    version: int
    state: State
    error: errors.ServingError | None = None


@dataclass
class _Version:
    number: int
    state: State = State.START
    error: errors.ServingError | None = None
    servable: Servable | None = None
    users: int = 0
    seen: storage.Fingerprint | None = None  # files at the last look
    failed: storage.Fingerprint | None = None  # files that could not be loaded
    problem: str = field(default="", repr=False)


@dataclass(frozen=True)
class Lent:
    """A servable that will not be unloaded while it is lent, and the version it is."""

    name: str
    version: int
    servable: Servable


class ServedModel:
    """The versions of one model and the thread that reconciles them with the disk."""

    def __init__(self, config: ModelConfig, load: Load, poll_seconds: float | None) -> None:
        self.config = config
        self._load = load
        self._poll_seconds = poll_seconds
        self._versions: dict[int, _Version] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._problem = ""
        self.settled = threading.Event()
        """Set once the first look at the disk is over and what it found is loaded, failed or absent."""
        self._thread = threading.Thread(target=self._watch, name=f"model-{config.name}", daemon=True)

    def start(self) -> None:
        """Begins to look at the disk."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Unloads everything once no request uses it; returns whether that was so within `timeout` seconds."""
        self._stop.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def statuses(self) -> list[VersionStatus]:
        """All versions ever seen, the highest first."""
        with self._changed:
            entries = sorted(self._versions.values(), key=lambda entry: -entry.number)
            return [VersionStatus(entry.number, entry.state, entry.error) for entry in entries]

    @contextmanager
    def lend(self, version: int | None) -> Iterator[Lent]:
        """The version asked for, or the highest available one. Raises NotFound."""
        entry = self._acquire(version)
        try:
            if entry.servable is None:  # cannot be: an AVAILABLE version has one, and it stays while it is lent
                raise errors.Internal(f"Version {entry.number} of model {self.config.name} lost its servable")
            yield Lent(self.config.name, entry.number, entry.servable)
        finally:
            with self._changed:
                entry.users -= 1
                self._changed.notify_all()

    def _acquire(self, version: int | None) -> _Version:
        with self._changed:
            ready = [entry for entry in self._versions.values() if entry.state is State.AVAILABLE]
            matching = [entry for entry in ready if version in (None, entry.number)]
            if not matching:
                raise _not_found(self.config.name, version)
            entry = max(matching, key=lambda entry: entry.number)
            entry.users += 1
            return entry

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                pending = self._reconcile()
            except Exception:  # whatever it is, the next look may fare better, and this thread must go on looking
                _log.exception("Looking at the versions of model %s failed", self.config.name)
                pending = False
            if not pending:
                self.settled.set()
            self._stop.wait(PENDING_SECONDS if pending else self._poll_seconds)
        self.settled.set()
        self._unload(set(self._versions))

    def _reconcile(self) -> bool:
        """One look at the disk. Returns whether a version is there that is still being written."""
        try:
            disk = storage.versions(self.config.base_path)
        except OSError as error:
            self._report(f"Could not find base path {self.config.base_path} for servable {self.config.name}: {error}")
            return False
        if not disk:
            self._report(
                f"No versions of servable {self.config.name} found under base path {self.config.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?"
            )
        else:
            self._report("")
        wanted = self.config.policy(disk)
        try:
            pending = [self._try(number, disk[number]) for number in sorted(wanted, reverse=True)]
        except OSError as error:  # files vanish while we look at them: the next look sees what is left
            _log.info("Model %s changed while being looked at: %s", self.config.name, error)
            return True
        self._unload_unwanted(wanted)
        return any(pending)

    def _report(self, problem: str) -> None:
        """Logs a problem with the base path once, not at every look."""
        if problem and problem != self._problem:
            _log.warning(problem)
        self._problem = problem

    def _try(self, number: int, path: Path) -> bool:
        """Loads a new version, if it is complete. Returns whether it is still being written."""
        with self._changed:
            entry = self._versions.setdefault(number, _Version(number))
        if entry.state not in (State.START, State.END):
            return False
        now = storage.fingerprint(path)
        if now == entry.failed:
            return False
        before, entry.seen = entry.seen, now
        absent = storage.missing(path)
        if absent or not storage.is_settled(path, before):
            problem = f"{absent} is missing" if absent else "files still change"
            if problem != entry.problem:
                _log.info("Version %d of model %s is not complete yet: %s", number, self.config.name, problem)
            entry.problem = problem
            # A folder that lacks a file and no longer changes will not be complete any moment: the usual poll suffices.
            return now != before
        self._load_version(entry, path)
        return False

    def _load_version(self, entry: _Version, path: Path) -> None:
        self._set(entry, State.LOADING)
        try:
            entry.servable = self._load(self.config.name, path)
        except errors.ServingError as error:
            _log.error("Loading version %d of model %s failed: %s", entry.number, self.config.name, error.message)
            entry.failed = entry.seen
            self._set(entry, State.END, error)
        except Exception as error:
            _log.exception("Loading version %d of model %s failed", entry.number, self.config.name)
            entry.failed = entry.seen
            self._set(entry, State.END, errors.Internal(f"{type(error).__name__}: {error}"))
        else:
            self._set(entry, State.AVAILABLE)
            _log.info("Version %d of model %s is available", entry.number, self.config.name)

    def _unload_unwanted(self, wanted: set[int]) -> None:
        """Unloads what is not wanted, once something wanted is there to take over."""
        ready = {number for number, entry in self._versions.items() if entry.state is State.AVAILABLE}
        if not wanted or ready & wanted:
            self._unload(ready - wanted)

    def _unload(self, numbers: Iterable[int]) -> None:
        for number in sorted(numbers):
            entry = self._versions[number]
            if entry.servable is None:
                continue
            self._set(entry, State.UNLOADING)
            with self._changed:
                self._changed.wait_for(lambda entry=entry: entry.users == 0)  # type: ignore[misc]
            entry.servable.close()
            entry.servable = entry.seen = entry.failed = None
            self._set(entry, State.END)
            _log.info("Version %d of model %s is unloaded", number, self.config.name)

    def _set(self, entry: _Version, state: State, error: errors.ServingError | None = None) -> None:
        with self._changed:
            entry.state, entry.error, entry.problem = state, error, ""


def _not_found(name: str, version: int | None) -> errors.NotFound:
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return errors.NotFound(f"Servable not found for request: {asked}")


class Manager:
    """All models of a server, by name."""

    def __init__(self, models: Iterable[ModelConfig], load: Load, *, poll_seconds: float | None = 1.0) -> None:
        """poll_seconds: how often to look for new versions; None: only at the start."""
        self._models = {config.name: ServedModel(config, load, poll_seconds) for config in models}

    @property
    def names(self) -> list[str]:
        """Of the models, sorted."""
        return sorted(self._models)

    def start(self) -> None:
        """Loads what is there; returns when each model has a version available, or none that could be."""
        for model in self._models.values():
            model.start()
        for model in self._models.values():
            model.settled.wait()

    def stop(self, timeout: float) -> bool:
        """Unloads everything once no request uses it; returns whether that was so within `timeout` seconds."""
        end = time.monotonic() + timeout
        stopped = [model.stop(max(end - time.monotonic(), 0)) for model in self._models.values()]
        return all(stopped)

    @contextmanager
    def lend(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Lent]:
        """Lends a servable for the time of a `with` block.

        Raises InvalidArgument for an empty name or an unknown label, NotFound for what is not served.
        """
        if not name:
            raise errors.InvalidArgument("ModelSpec has no name specified.")
        if label is not None:
            raise errors.InvalidArgument(f"Unrecognized servable version label: {label}")
        if name not in self._models:
            raise _not_found(name, version)
        with self._models[name].lend(version) as lent:
            yield lent

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Of all versions ever seen, the highest first, or of one. Raises NotFound."""
        found = self._models[name].statuses() if name in self._models else []
        if not found:
            raise errors.NotFound(f"Could not find any versions of model {name}")
        if version is None:
            return found
        chosen = [status for status in found if status.version == version]
        if not chosen:
            raise errors.NotFound(f"Could not find version {version} of model {name}")
        return chosen
