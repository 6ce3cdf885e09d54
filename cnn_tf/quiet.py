"""Imports TensorFlow without its start-up notes, and in less time.

TensorFlow's C++ code writes notes about GPUs and instruction sets to file descriptor 2 before any log level applies, and an
alarming CUDA error on a machine that simply has no GPU.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


def import_tensorflow() -> None:
    """Imports TensorFlow and finds its devices; what it says meanwhile is shown only if that fails."""
    if "tensorflow" in sys.modules:
        return
    # Not even errors: what matters is raised as well, and that a processor lacks an instruction comes as one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as notes, _without_collections(), _without("matplotlib"):
        os.dup2(notes.fileno(), 2)
        try:
            importlib.import_module("tensorflow").config.list_physical_devices()
        except BaseException:
            notes.seek(0)
            os.write(saved, notes.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Meanwhile no garbage is looked for among a million new objects, none of which is any; later neither."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Meanwhile `package` is as if it were not installed: Keras imports Matplotlib for galleries that nobody here looks at."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # that is how Python is told
    try:
        yield
    finally:
        del sys.modules[package]
