"""What is served at a moment, gathered from the models and what was counted: for metrics, the live view, and health."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from serving import errors
from serving.server.live import Model, Snapshot, Version, describe_inputs
from serving.server.manager import Manager, State, VersionStatus
from serving.server.metrics import Metrics, Rates
from serving.server.servable import Servable


class Overview:
    """Of the models of a manager. Its methods may be called from any thread."""

    def __init__(self, manager: Callable[[], Manager]) -> None:
        self._manager = manager

    def version_states(self) -> Iterator[tuple[str, int, str]]:
        """Model, version, and state as GetModelStatus calls it."""
        for name in self._manager().names:
            for status in self._statuses(name):
                yield name, status.version, status.state.name

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """Model, version, and how many requests wait for it."""
        for name, version, state in self.version_states():
            if state == State.AVAILABLE.name:
                for servable in self._servables(name, version):
                    yield name, version, servable.batcher.queued

    def snapshot(self, metrics: Metrics) -> Snapshot:
        """All that people are shown."""
        rates = metrics.recent()
        waiting: dict[str, int] = {}
        for name, _, number in self.queues():
            waiting[name] = waiting.get(name, 0) + number
        models = [
            Model(name, list(self._versions(name)), rates.get(name, Rates()), waiting.get(name, 0))
            for name in self._manager().names
        ]
        return Snapshot(models, rates.get("", Rates()), metrics.resident_bytes)

    def _versions(self, name: str) -> Iterator[Version]:
        for status in self._statuses(name):
            shown = Version(status.version, status.state.name, status.error is not None)
            for servable in self._servables(name, status.version):
                signatures = {
                    key: describe_inputs(signature)
                    for key, signature in sorted(servable.signatures.items())
                    if not key.startswith("__")
                }
                shown = Version(status.version, status.state.name, False, signatures, servable.summary)
            yield shown

    def _statuses(self, name: str) -> list[VersionStatus]:
        try:
            return self._manager().statuses(name)
        except errors.NotFound:  # none was found on disk yet
            return []

    def _servables(self, name: str, version: int) -> Iterator[Servable]:
        """The servable, if it is available."""
        try:
            lent = self._manager().borrow(name, version)
        except errors.NotFound:
            return
        with lent:
            yield lent.servable
