"""What this process does with memory that is free: keeps it for the next request, or gives it back to the machine."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import sys
import threading
from collections.abc import Callable, Iterator

# <malloc.h>
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
YOUNG_OBJECTS = 10_000
KEPT_BYTES = 256 * 2**20
LOADING_BYTES = 128 * 2**10

_lock = threading.Lock()
_loads = 0


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Meanwhile no garbage is collected, and what is imported never is: importing TensorFlow takes a seventh less time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def set_aside() -> None:
    """Has what exists by now, such as all imported modules, looked at by no garbage collection any more.

    With TensorFlow imported one collection takes some 0.3 s, during which no request is answered. To be called once, before
    models are loaded.
    """
    gc.collect()
    gc.freeze()
    # What a few requests under way consist of is more than the usual 700 objects, and none of it is a cycle.
    gc.set_threshold(YOUNG_OBJECTS)


def give_back() -> None:
    """Frees what nothing refers to any more: Python's cycles (graphs are full of them), then the C library's free lists.

    Unloaded models leave hundreds of MB in both (tensorflow/serving#1664). Takes tens of milliseconds; for after a model is
    loaded or closed.
    """
    gc.collect()
    _malloc_trim()(0)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While a model is loaded, each large block gets pages of its own, which go back to the system when it is freed.

    Afterwards the C library keeps what a call took for the next one, until `give_back`: else each call has the system clear
    the same pages again. Were weights in those heaps too, they would break them up, and no unload would make memory smaller.
    """
    global _loads
    with _lock:
        _loads += 1
        _mallopt()(M_MMAP_THRESHOLD, LOADING_BYTES)
    try:
        yield
    finally:
        with _lock:
            _loads -= 1
            if not _loads:
                _mallopt()(M_MMAP_THRESHOLD, KEPT_BYTES)
                _mallopt()(M_TRIM_THRESHOLD, 2 * KEPT_BYTES)


@functools.cache
def _mallopt() -> Callable[[int, int], object]:
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            return mallopt  # type: ignore[no-any-return]
    return lambda parameter, value: None


@functools.cache
def _malloc_trim() -> Callable[[int], object]:
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            return trim  # type: ignore[no-any-return]
    return lambda pad: None
