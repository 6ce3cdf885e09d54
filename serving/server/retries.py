"""When a version that could not be loaded is tried again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from serving.server.storage import Fingerprint

Files = tuple[Path, Fingerprint]
"""A version folder and what lies in it."""

# After files changed and failed again: twice as long each time, seconds.
FIRST_BACK_OFF_SECONDS = 0.5
MAX_BACK_OFF_SECONDS = 60.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often the same files are tried again, and how many seconds apart."""

    max_retries: int = 5
    interval_seconds: float = 60.0


class Attempts:
    """The failed loads of one version. Times are those of `time.monotonic`, seconds."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._files: Files | None = None  # that failed last
        self._retries = 0  # of these files
        self._back_off = FIRST_BACK_OFF_SECONDS
        self._try_same_at = math.inf
        self._try_changed_at = -math.inf

    def failed(self, files: Files, now: float) -> None:
        """These files could not be loaded."""
        if files == self._files:
            self._retries += 1
        else:
            self._files, self._retries = files, 0
            self._try_changed_at = now + self._back_off
            self._back_off = min(2 * self._back_off, MAX_BACK_OFF_SECONDS)
        is_last = self._retries >= self._policy.max_retries
        self._try_same_at = math.inf if is_last else now + self._policy.interval_seconds

    def are_due(self, files: Files, now: float) -> bool:
        """Whether to try `files` now: the first time, at the interval, or since they changed."""
        return now >= (self._try_same_at if files == self._files else self._try_changed_at)

    @property
    def next_at(self) -> float:
        """When the same files are tried again; infinite: not any more."""
        return self._try_same_at
