"""Publishes versions of a model as a careful user does: copied aside, then renamed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from serving.client import PredictClient

WAIT_SECONDS = 120.0


def publish(base: Path, number: int) -> None:
    """Makes a copy of the newest version in the folder `base` its version `number`."""
    newest = max((int(entry.name), entry) for entry in base.iterdir() if entry.name.isdecimal())[1]
    aside = base.parent / f".{base.name}-{number}"
    shutil.copytree(newest, aside)
    aside.rename(base / str(number))


def delete_below(base: Path, number: int) -> None:
    for entry in base.iterdir():
        if entry.name.isdecimal() and int(entry.name) < number:
            shutil.rmtree(entry)


def wait_available(grpc_address: str, name: str, number: int) -> None:
    """Until the server has `number` AVAILABLE and no older version is in memory. Raises TimeoutError."""
    end = time.monotonic() + WAIT_SECONDS
    with PredictClient(grpc_address, name) as client:
        while True:
            states = {entry.version: entry.state for entry in client.status()}
            if states.get(number) == "AVAILABLE" and all(
                state == "END" for version, state in states.items() if version < number
            ):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"Version {number} of {name} is not available: {states}")
            time.sleep(0.02)
