"""Every attack by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.abuse import connections, giants, grpc_requests, http_requests
from benchmarks.abuse.victim import Finding, Victim

ATTACKS: dict[str, Callable[[Victim], Iterator[Finding]]] = {
    "grpc": grpc_requests.attack,
    "http": http_requests.attack,
    "idle": connections.idle,
    "slow": connections.slow,
    "deaf": connections.deaf,
    "churn": connections.churn,
    "announced": giants.announced,
    "deep_json": giants.deep_json,
    "large_grpc": giants.large_grpc,
    "large_rest": giants.large_rest,
}
