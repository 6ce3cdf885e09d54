"""A session and its functions, which share what they can."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tensorflow.core.protobuf import meta_graph_pb2

from serving.server import memory
from serving.server.engine import probe, sessions
from serving.server.engine.grappler import Signatures
from serving.server.engine.sessions import Function
from serving.server.engine.sharing import Shared
from serving.server.engine.straight import Crooked
from serving.server.engine.threads import ANY_BATCH

Ends: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Tensors that are fed, and tensors that are fetched."""

# Each function has copies of the weights that it uses; from this size on, one serves all with the same inputs.
LARGE_WEIGHTS = 2**20


class SavedModelEngine:
    """See `engine.Engine`."""

    def __init__(
        self, session: Any, signatures: Signatures, crooked: Crooked, weight_bytes: int, shared: Mapping[str, Shared]
    ) -> None:
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = signatures
        self.slots = 1
        self.best_batch = ANY_BATCH
        self.quick_rows = 0
        self.needs_ranks = False
        self.summary = ""
        self._session = session
        self._pools = sessions.pools(session)
        self._is_large = weight_bytes > LARGE_WEIGHTS
        self._crooked = crooked
        self._shared = shared
        self._rowwise: dict[frozenset[str], frozenset[str]] = {}
        self._functions: dict[Ends, Function] = {}
        self._lock = threading.RLock()

    def function(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        """See `engine.Engine`."""
        function = self._functions.get((feeds, fetches))
        if function is None:
            with self._lock:
                function = self._functions.get((feeds, fetches)) or self._make(feeds, fetches)
                self._functions[feeds, fetches] = function
        return function

    def _make(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        for shared in self._shared.values():
            if set(feeds) == set(shared.feeds) and set(fetches) <= set(shared.fetches):
                return self._prepared(shared, feeds, fetches)
            # MultiInference asks for results of several signatures at once; the graph has no shared one's own.
            if set(feeds) == set(shared.feeds) and not set(fetches).isdisjoint(shared.fetches):
                return self._apart(shared, feeds, fetches)
        whole = self._whole(feeds, fetches) if self._is_large else (feeds, fetches)
        if whole == (feeds, fetches):
            if self._crooked.leads_to(fetches):
                return sessions.stoppable(self._session, feeds, fetches, self._pools)
            return sessions.function(self._session, feeds, fetches)
        return _selected(self.function(*whole), _positions(feeds, whole[0]), _positions(whole[1], fetches))

    def _prepared(self, shared: Shared, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        base_feeds = probe.feeds(self.signatures[shared.base])
        base = self.function(base_feeds, tuple(shared.fetches[fetch] for fetch in fetches))
        if shared.is_copy:
            return _selected(base, _positions(feeds, shared.prepared), range(len(fetches)))
        prepare = self.function(feeds, shared.prepared)

        def call(*arrays: Any, seconds: float | None = None) -> Sequence[Any]:
            return base(*prepare(*arrays, seconds=seconds), seconds=seconds)

        return call

    def _apart(self, shared: Shared, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        """What a shared signature computes of `fetches`, and the rest, in two calls."""
        parts = [tuple(f for f in fetches if (f in shared.fetches) == is_shared) for is_shared in (True, False)]
        functions = [self.function(feeds, part) for part in parts]
        order = _positions([*parts[0], *parts[1]], fetches)

        def call(*arrays: Any, seconds: float | None = None) -> list[Any]:
            results = [result for function in functions for result in function(*arrays, seconds=seconds)]
            return [results[index] for index in order]

        return call

    def _whole(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Ends:
        """All that is computed from the tensors in `feeds`, if that includes `fetches`."""
        alike = [
            signature
            for name, signature in self.signatures.items()
            if name not in self._shared and set(probe.feeds(signature)) == set(feeds)
        ]
        computed = {fetch for signature in alike for fetch in probe.fetches(signature)}
        return (tuple(sorted(feeds)), tuple(sorted(computed))) if computed.issuperset(fetches) else (feeds, fetches)

    def add_rowwise(self, feeds: tuple[str, ...], fetches: frozenset[str]) -> None:
        """Requests that feed `feeds` may be joined if they fetch only `fetches`."""
        known = self._rowwise.get(frozenset(feeds), frozenset())
        self._rowwise[frozenset(feeds)] = known | fetches

    def joinable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> bool:
        """See `engine.Engine`."""
        for shared in self._shared.values():
            if shared.is_copy and set(feeds) == set(shared.feeds) and set(fetches) <= set(shared.fetches):
                base_feeds = probe.feeds(self.signatures[shared.base])
                return self.joinable(base_feeds, tuple(shared.fetches[fetch] for fetch in fetches))
        return self._rowwise.get(frozenset(feeds), frozenset()).issuperset(fetches)

    def close(self) -> None:
        """See `engine.Engine`."""
        self._functions.clear()
        self._session.close()
        self._session = None
        memory.give_back()


def _positions(given: Sequence[str], wanted: Sequence[str]) -> list[int]:
    return [given.index(name) for name in wanted]


def _selected(function: Function, feeds: Sequence[int], fetches: Sequence[int]) -> Function:
    """`function` with its inputs in another order, and of its outputs only some."""

    def call(*arrays: Any, seconds: float | None = None) -> list[Any]:
        results = function(*[arrays[index] for index in feeds], seconds=seconds)
        return [results[index] for index in fetches]

    return call
