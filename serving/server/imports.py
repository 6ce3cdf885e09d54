"""Importing TensorFlow without what serving has no use for."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

from serving.server import logs, memory


def tensorflow() -> ModuleType:
    """TensorFlow, its devices found: that is when it says at length that there is no GPU.

    It imports Keras at its end, which brings plotting with it if that is installed: a third of the time. Serving needs neither.
    """
    with logs.native_notes(), memory.importing(), without("keras"):
        module = importlib.import_module("tensorflow")
        module.config.list_physical_devices()
    return module


@contextlib.contextmanager
def without(package: str) -> Iterator[None]:
    """Meanwhile `package` is as if it were not installed, unless it is imported already."""
    held = package not in sys.modules
    if held:
        sys.modules[package] = None  # type: ignore[assignment]  # that is how Python is told
    try:
        yield
    finally:
        if held:
            del sys.modules[package]
