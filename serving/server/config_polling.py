"""Looks again and again which models to serve: in the model config file, or in the folder of models."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from pathlib import Path

from serving import errors
from serving.server import config
from serving.server.manager import Manager

_log = logging.getLogger(__name__)


class ConfigPoller(ABC):
    """Applies what it finds to the manager each period; errors are only logged."""

    def __init__(self, manager: Manager, place: Path, seconds: float) -> None:
        self._manager = manager
        self._place = place
        self._seconds = seconds
        self._stopping = threading.Event()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="config", daemon=True)

    @abstractmethod
    def _look(self) -> None:
        """Reads and applies it once. Raises ServingError."""

    def start(self) -> None:
        """Looks for the first time after one period."""
        self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self.apply()

    def apply(self) -> None:
        """Looks once."""
        try:
            self._look()
        except errors.ServingError as error:
            self._report(error.message)
        except Exception:
            _log.exception("Applying %s failed", self._place)
        else:
            self._report("")

    def _report(self, problem: str) -> None:
        """Logs a problem once, not at every look; none of a server that stops."""
        if problem and problem != self._problem and not self._stopping.is_set():
            _log.error("Cannot apply %s: %s", self._place, problem)
        self._problem = problem


class FilePoller(ConfigPoller):
    """For `--model_config_file_poll_wait_seconds`: applies the file also when it has not changed, as the original does."""

    def _look(self) -> None:
        self._manager.reload(config.from_file(self._place, self._manager.configs), defer_labels=True)


class FolderPoller(ConfigPoller):
    """For a folder of models: new ones are served too, and labels move. What is served stays without its folder.

    Applied is what has changed in the folder, so a list of models that a client gave stays until then.
    """

    def __init__(self, manager: Manager, place: Path, seconds: float) -> None:
        super().__init__(manager, place, seconds)
        self._known = manager.configs

    def _look(self) -> None:
        found = config.from_folder(self._place)
        if found != self._known:
            wanted = {one.name: one for one in (*self._manager.configs, *found)}
            self._manager.reload(list(wanted.values()), defer_labels=True)
            self._known = found
