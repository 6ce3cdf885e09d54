"""Reads the model config file again and again, for `--model_config_file_poll_wait_seconds`."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from serving import errors
from serving.server import config
from serving.server.manager import Manager

_log = logging.getLogger(__name__)


class ConfigPoller:
    """Applies the file to the manager each period, also when it has not changed; errors are only logged."""

    def __init__(self, manager: Manager, file: Path, seconds: float) -> None:
        self._manager = manager
        self._file = file
        self._seconds = seconds
        self._stopping = threading.Event()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="config-file", daemon=True)

    def start(self) -> None:
        """Reads the file for the first time after one period."""
        self._thread.start()

    def stop(self) -> None:
        """Reads it no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self.apply()

    def apply(self) -> None:
        """Reads and applies the file once."""
        try:
            self._manager.reload(config.from_file(self._file, self._manager.configs), defer_labels=True)
        except errors.ServingError as error:
            self._report(error.message)
        except Exception:
            _log.exception("Applying %s failed", self._file)
        else:
            self._report("")

    def _report(self, problem: str) -> None:
        """Logs a problem with the file once, not at every look."""
        if problem and problem != self._problem:
            _log.error("Cannot apply %s: %s", self._file, problem)
        self._problem = problem
