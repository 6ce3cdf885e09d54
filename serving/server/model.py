"""One served model: keeps its wanted versions loaded, in a thread of its own, so that no other model waits for it.

What is done next is decided as TensorFlow Serving does: the highest new version is loaded first, and an unwanted one is
unloaded only when a wanted one can take over. So two versions are in memory during a swap, and a version that fails leaves
the old one serving.
"""

from __future__ import annotations

import enum
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from serving import errors
from serving.server import completeness, labels, memory, storage
from serving.server.config import ModelConfig
from serving.server.lending import Lent, Loaded
from serving.server.retries import Attempts, Files, RetryPolicy
from serving.server.versions import State, Version, VersionStatus

if TYPE_CHECKING:
    from serving.server.servable import Servable

_log = logging.getLogger(__name__)

Load = Callable[[str, int, Path], "Servable"]
"""Model name, version number and version folder -> loaded and warmed-up servable. Raises ServingError."""
Check = Callable[[Path], None]
"""Raises NotFound while a version folder lacks something, another ServingError if it is damaged."""

# How soon to look again at a version that is still being written, and how long the start waits for it, seconds.
PENDING_SECONDS = 0.25
PATIENCE_SECONDS = 60.0
# How soon a stop sees that all that is left to wait for is a version that loads.
_LOOK_SECONDS = 0.05
# Unloaded and failed versions that are still told of.
MAX_ENDED = 100


@dataclass(frozen=True)
class Settings:
    """How models are looked after."""

    poll_seconds: float = 1.0
    """How often to look for versions; 0: once, and at each change of the configuration; less: only at the latter."""
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    check: Check = completeness.check


class _Outcome(enum.Enum):
    """Of looking at a version that is not loaded."""

    NOTHING = enum.auto()
    CHANGING = enum.auto()  # its files do
    ACTED = enum.auto()  # it is loaded, or failed


class ServedModel:
    """The versions of one model. Only `step` changes them, in one thread; all else may be called from any."""

    def __init__(self, name: str, load: Load, settings: Settings) -> None:
        self.name = name
        self.config: ModelConfig | None = None
        """None: no version is wanted."""
        self.labels: labels.Labels = {}
        """Where labels point at present."""
        self.settled = threading.Event()
        """Set once what was found at the first look is available, failed or absent."""
        self._load_servable = load
        self._settings = settings
        self._available: dict[
            int, Loaded
        ] = {}  # replaced as a whole, never changed, so requests read it without a lock
        self._latest: Loaded | None = None
        self._versions: dict[int, Version] = {}  # those that ended are in the order in which they did
        self._wanted: Mapping[int, Path] = {}
        self._problem = ""  # with the base path
        self._absent: Sequence[str] = ()  # what is said of versions that are wanted, and not there
        self._warned: set[str] = set()
        self._lock = threading.Lock()  # of config, settled, _scan_at and _versions
        self._scan_at = math.inf
        self._patient_until = 0.0
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"model-{name}", daemon=True)

    def start(self) -> None:
        """Begins to look after the versions."""
        self._thread.start()

    @property
    def is_loading(self) -> bool:
        """Whether a version is being loaded, which nothing can interrupt."""
        with self._lock:
            return any(entry.state is State.LOADING for entry in self._versions.values())

    def stop(self, timeout: float) -> bool:
        """Unloads everything once no request uses it; returns whether no request did within `timeout` seconds.

        A version that is being loaded is not waited for: it is unloaded, and all others with it, whenever that is done.
        """
        self._stopping = True
        self._wake.set()
        if self._thread.ident is None:
            return True  # it never started
        end = time.monotonic() + timeout
        while self._thread.is_alive():
            if self.is_loading and not any(loaded.is_lent for loaded in self._available.values()):
                return True
            if (left := end - time.monotonic()) <= 0:
                return False
            self._thread.join(min(left, _LOOK_SECONDS))
        return True

    def apply(self, config: ModelConfig | None, *, scan: bool = True) -> None:
        """Serves as `config` says from now on, with a look at the disk at once; None: unloads all versions."""
        with self._lock:
            if self.config is None:
                self.settled.clear()
                self._patient_until = time.monotonic() + PATIENCE_SECONDS
            self.config = config
            self._scan_at = 0.0 if scan else math.inf
        self._point_labels()
        self._wake.set()

    def borrow(self, version: int | None) -> Lent | None:
        """The version asked for, or the highest available one; None if it is not available."""
        while True:
            loaded = self._latest if version is None else self._available.get(version)
            if loaded is None:
                return None
            if (lent := loaded.borrow()) is not None:
                return lent
            # It was retired between the two lines; by then the tables no longer held it.

    def is_available(self, version: int) -> bool:
        """Whether requests can use the version."""
        return version in self._available

    def statuses(self) -> list[VersionStatus]:
        """Of all versions that were wanted once, the highest first; of those that ended only the last 100."""
        with self._lock:
            entries = sorted(self._versions.values(), key=lambda entry: -entry.number)
            return [entry.status for entry in entries]

    def unavailability(self) -> tuple[int | None, errors.ServingError] | None:
        """Why no version is available, and of which version that is told; None if one is."""
        if self._latest is not None:
            return None
        with self._lock:
            for entry in sorted(self._versions.values(), key=lambda entry: -entry.number):
                if entry.number not in self._wanted:
                    continue
                if entry.state is State.LOADING:
                    return entry.number, errors.Unavailable("It is being loaded")
                if error := entry.error or entry.lacks:
                    return entry.number, error
                if entry.state is State.START:
                    return entry.number, errors.Unavailable("Its files still change")
        return None, errors.NotFound(self._problem or "; ".join(self._absent) or "No version was looked for yet")

    def step(self) -> float:
        """Looks at the disk if that is due, and loads or unloads one version; returns seconds until the next step."""
        now = time.monotonic()
        with self._lock:
            config, is_due = self.config, self._scan_at <= now
            if is_due:
                poll = self._settings.poll_seconds
                self._scan_at = now + poll if poll > 0 else math.inf
        if is_due:
            self._scan(config)
        if self._unload_one():
            return 0.0
        changing = False
        for number in sorted(self._wanted, reverse=True):
            outcome = self._try(self._entry(number), self._wanted[number])
            if outcome is _Outcome.ACTED:
                return 0.0
            changing = changing or outcome is _Outcome.CHANGING
        if not changing or now > self._patient_until:
            self._settle(config)
        self._forget()
        return max(min(PENDING_SECONDS if changing else math.inf, self._next_at() - time.monotonic()), 0.0)

    def _run(self) -> None:
        while not self._stopping:
            try:
                delay = self.step()
            except Exception:  # whatever it is, the next look may fare better, and this thread must go on looking
                _log.exception("Looking after the versions of model %s failed", self.name)
                self.settled.set()
                delay = max(self._settings.poll_seconds, PENDING_SECONDS)
            self._wake.wait(None if delay == math.inf else delay)
            self._wake.clear()
        self.settled.set()
        for number in sorted(self._available):
            self._unload(self._versions[number])

    def _settle(self, config: ModelConfig | None) -> None:
        with self._lock:
            if self.config is config:  # else another look is due
                self.settled.set()

    def _scan(self, config: ModelConfig | None) -> None:
        """Finds out which versions are wanted. A base path that cannot be listed changes nothing."""
        if config is None:
            self._want({})
            return
        try:
            found = storage.scan(config.base_path)
        except OSError as error:
            self._report(
                f"Could not find base path {config.base_path} for servable {self.name}: {error.strerror or error}"
            )
            return
        self._report(
            ""
            if found.versions
            else f"No versions of servable {self.name} found under base path {config.base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
        self._absent = config.absent(found.versions)
        self._warn({*self._absent, *found.warnings})
        self._want({number: found.versions[number] for number in config.policy.wanted(found.versions)})

    def _want(self, wanted: Mapping[int, Path]) -> None:
        self._wanted = wanted
        for entry in [entry for entry in self._versions.values() if entry.number not in wanted]:
            entry.reset(Attempts(self._settings.retries))
            if entry.state is State.START:
                with self._lock:
                    del self._versions[entry.number]

    def _report(self, problem: str) -> None:
        """Logs a problem with the base path once, not at every look."""
        if problem and problem != self._problem:
            _log.warning(problem)
        self._problem = problem

    def _warn(self, warnings: set[str]) -> None:
        """Logs each of `warnings` once, not at every look."""
        for text in sorted(warnings - self._warned):
            _log.warning(text)
        self._warned = warnings

    def _entry(self, number: int) -> Version:
        with self._lock:
            if number not in self._versions:
                self._versions[number] = Version(number, Attempts(self._settings.retries))
            return self._versions[number]

    def _try(self, entry: Version, path: Path) -> _Outcome:
        """Loads a new version, if its files are complete and due to be tried."""
        if entry.state not in (State.START, State.END):
            return _Outcome.NOTHING
        files: Files = (path, frozenset())
        try:
            files = (path, storage.fingerprint(path))
            now = time.monotonic()
            unchanged_seconds = entry.see(files, now)
            if files == entry.incomplete or not entry.attempts.are_due(files, now):
                return _Outcome.NOTHING
            if unchanged_seconds < PENDING_SECONDS and not storage.is_settled(path):
                return _Outcome.CHANGING
            self._settings.check(path)
        except errors.NotFound as error:
            _log.info("Version %d of model %s is not complete: %s", entry.number, self.name, error.message)
            entry.incomplete, entry.lacks = files, error
            return _Outcome.NOTHING
        except errors.ServingError as error:
            self._fail(entry, files, error)
            return _Outcome.ACTED
        except FileNotFoundError:  # files vanish while we look at them: the next look sees what is left
            return _Outcome.CHANGING
        except OSError as error:
            if not entry.attempts.are_due(files, time.monotonic()):
                return _Outcome.NOTHING
            self._fail(
                entry, files, errors.Unavailable(f"Cannot read {error.filename or path}: {error.strerror or error}")
            )
            return _Outcome.ACTED
        self._load(entry, files)
        return _Outcome.ACTED

    def _load(self, entry: Version, files: Files) -> None:
        entry.incomplete = entry.lacks = None
        self._set(entry, State.LOADING)
        try:
            servable = self._load_servable(self.name, entry.number, files[0])
        except errors.ServingError as error:
            self._fail(entry, files, error)
        except Exception as error:
            _log.error("Loading version %d of model %s failed", entry.number, self.name, exc_info=error)
            self._fail(entry, files, errors.Internal(f"{type(error).__name__}: {error}"))
        else:
            entry.loaded = Loaded(self.name, entry.number, servable)
            self._publish({**self._available, entry.number: entry.loaded})
            self._set(entry, State.AVAILABLE)
            _log.info("Version %d of model %s is available", entry.number, self.name)

    def _fail(self, entry: Version, files: Files, error: errors.ServingError) -> None:
        _log.error("Loading version %d of model %s failed: %s", entry.number, self.name, error.message)
        entry.attempts.failed(files, time.monotonic())
        self._set(entry, State.END, error)

    def _unload_one(self) -> bool:
        """Unloads the lowest version that is not wanted, once there is something to take over; returns whether it did."""
        unwanted = self._available.keys() - self._wanted.keys() - self._left_soon()
        takes_over = bool(self._available.keys() & self._wanted.keys())
        if not unwanted or not (takes_over or not self._wanted or len(unwanted) > 1):
            return False
        self._unload(self._versions[min(unwanted)])
        return True

    def _left_soon(self) -> set[int]:
        """Versions that labels point at until the ones that these shall move to are available."""
        with self._lock:
            wanted = self.config.labels if self.config else {}
            return {version for label, version in self.labels.items() if wanted.get(label, version) != version}

    def _unload(self, entry: Version) -> None:
        loaded, entry.loaded = entry.loaded, None
        if loaded is None:  # cannot be: what is published is loaded
            raise errors.Internal(f"Version {entry.number} of model {self.name} lost its servable")
        self._set(entry, State.UNLOADING)
        self._publish({number: other for number, other in self._available.items() if number != entry.number})
        loaded.retire()
        try:
            loaded.servable.close()
        except Exception:
            _log.exception("Closing version %d of model %s failed", entry.number, self.name)
        del loaded
        memory.give_back()
        self._set(entry, State.END)
        _log.info("Version %d of model %s is unloaded", entry.number, self.name)

    def _publish(self, available: dict[int, Loaded]) -> None:
        """Requests use these versions from now on."""
        self._available = available
        self._latest = available[max(available)] if available else None
        self._point_labels()

    def _point_labels(self) -> None:
        with self._lock:
            wanted = self.config.labels if self.config else {}
            self.labels = labels.effective(wanted, self.labels, self.is_available)

    def _set(self, entry: Version, state: State, error: errors.ServingError | None = None) -> None:
        with self._lock:
            entry.state, entry.error = state, error
            if state is State.END:
                self._versions[entry.number] = self._versions.pop(entry.number)

    def _forget(self) -> None:
        """Tells no longer of versions that ended long ago."""
        with self._lock:
            ended = [n for n, entry in self._versions.items() if entry.state is State.END and n not in self._wanted]
            for number in ended[:-MAX_ENDED]:
                del self._versions[number]

    def _next_at(self) -> float:
        """When the disk is looked at next, or a failed version tried again."""
        retries = [self._versions[number].attempts.next_at for number in self._wanted if number in self._versions]
        return min([self._scan_at, *retries])
