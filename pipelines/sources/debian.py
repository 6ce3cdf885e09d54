"""Debian packages as a source of data: downloaded and unpacked, neither of which needs root."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import DataUnavailable

TIMEOUT = 300
"""Seconds that one command may take."""


@contextmanager
def unpacked(*packages: str) -> Iterator[Path]:
    """Gives a temporary folder with the files of the packages, as under /. Raises DataUnavailable."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise DataUnavailable("this system has no apt-get")
    with tempfile.TemporaryDirectory() as folder:
        _run(["apt-get", "-qq", "download", *packages], folder)
        for package in sorted(Path(folder).glob("*.deb")):
            _run(["dpkg", "-x", package.name, "unpacked"], folder)
        yield Path(folder, "unpacked")


def _run(command: list[str], folder: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no reason given"]
        raise DataUnavailable(f"{command[0]} failed: {lines[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataUnavailable(f"{command[0]} failed: {error}") from error
