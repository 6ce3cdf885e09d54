"""The versions of a model and their states."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from serving import errors
from serving.server.lending import Loaded
from serving.server.retries import Attempts, Files


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
class Version:
    """One version number of a model: how far it is, and which of its files were tried."""

    number: int
    attempts: Attempts
    state: State = State.START
    error: errors.ServingError | None = None
    loaded: Loaded | None = None
    """Set while it is AVAILABLE or UNLOADING."""
    seen: Files | None = None
    """At the last look."""
    seen_since: float = 0.0
    """When they were seen first, on the clock of `time.monotonic`."""
    incomplete: Files | None = None
    """Those that lacked something."""
    lacks: errors.NotFound | None = None
    """What that was."""

    @property
    def status(self) -> VersionStatus:
        """As clients are told."""
        return VersionStatus(self.number, self.state, self.error)

    def see(self, files: Files, now: float) -> float:
        """Takes note of what lies in the folder; returns for how many seconds it is known to be unchanged."""
        if files != self.seen:
            self.seen, self.seen_since = files, now
        return now - self.seen_since

    def reset(self, attempts: Attempts) -> None:
        """Forgets what was tried: the number is not wanted any more, and starts anew if it ever is."""
        self.attempts = attempts
        self.seen = self.incomplete = self.lacks = None
