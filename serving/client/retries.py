"""When a call that failed is made again: exponential back-off with full jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

from serving.errors import ResourceExhausted, ServingError, Unavailable

# A server that says so did not do the work, or lost it with its life. Asking a model twice does no harm.
SAFE = (Unavailable, ResourceExhausted)


@dataclass(frozen=True)
class Retry:
    """At most `attempts` calls in all; before the n-th retry a random pause of up to first * 2 ** (n - 1) seconds.

    first, longest: seconds; no pause is above `longest`. Random from 0 on, so that clients who failed together don't come back
    together (full jitter). All of it is within the call's own timeout.
    """

    attempts: int = 4
    first: float = 0.1
    longest: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 <= self.first <= self.longest:
            raise ValueError(f"Retry needs attempts >= 1 and 0 <= first <= longest. Received: {self}.")

    def pause(self, error: ServingError, attempts: int, seconds_left: float) -> float | None:
        """Seconds until the next attempt after `attempts` of them failed, the last with `error`; None: there is none."""
        if not isinstance(error, SAFE) or attempts >= self.attempts:
            return None
        pause = random.uniform(0, min(self.longest, self.first * 2 ** min(attempts - 1, 60)))
        return pause if pause < seconds_left else None


DEFAULT_RETRY = Retry()
NEVER = Retry(attempts=1)
