"""How much of the server one client may use: requests in a second, and requests under way.

A client is what the gate calls it. Memory stays bounded, however many clients there are.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from serving.errors import ResourceExhausted

# As many clients are counted each for itself; those that come while all of them are busy share one allowance.
MAX_CLIENTS = 100_000

_NANOSECONDS = 1_000_000_000


class RateLimit:
    """A token bucket for each client: at most rate * seconds + burst requests in any span of time.

    A bucket is kept as the one moment when it will be full again. One that is full by now needs no memory. Whole nanoseconds
    are counted, so that no rounding adds up.
    """

    def __init__(self, rate: float, burst: int = 0, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """`rate` in requests per second; `burst` as many at once, 0: as many as in a second, at least 1."""
        self._interval = math.ceil(_NANOSECONDS / rate)
        self._depth = self._interval * (burst or max(math.ceil(rate), 1))
        self._clock = clock
        self._full_at: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self.max_clients = MAX_CLIENTS

    def take(self, client: str) -> None:
        """Counts a request. Raises ResourceExhausted, with how long to wait, if it is one too many."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            if client not in self._full_at and len(self._full_at) >= self.max_clients:
                client = ""
            # Whom we do not know may have used the shared allowance, so begins with what is left of it.
            full_at = max(self._full_at.get(client, self._full_at.get("", now)), now) + self._interval
            wait = full_at - now - self._depth
            if wait <= 0:
                self._full_at[client] = full_at
                self._full_at.move_to_end(client)
                return
        seconds = wait / _NANOSECONDS
        raise ResourceExhausted(
            f"Too many requests: more than {_NANOSECONDS / self._interval:g} a second. Try again in {seconds:.3g} s",
            retry_seconds=seconds,
        )

    def _forget(self, now: int) -> None:
        """Drops buckets that are full again, the longest unused first; two a request suffice to keep up."""
        for _ in range(2):
            client = next(iter(self._full_at), None)
            if client is None or self._full_at[client] > now:
                return
            del self._full_at[client]

    def __len__(self) -> int:
        return len(self._full_at)


class ConcurrencyLimit:
    """At most `most` requests of a client under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Counts a request until `give_back`. Raises ResourceExhausted if it is one too many."""
        with self._lock:
            count = self._under_way.get(client, 0)
            if count < self._most:
                self._under_way[client] = count + 1
                return
        raise ResourceExhausted(
            f"Too many requests under way: at most {self._most} of a client. Wait for an answer before the next",
            retry_seconds=0.1,
        )

    def give_back(self, client: str) -> None:
        """One of the client's requests is answered."""
        with self._lock:
            count = self._under_way.pop(client, 0) - 1
            if count > 0:
                self._under_way[client] = count

    def __len__(self) -> int:
        return len(self._under_way)
