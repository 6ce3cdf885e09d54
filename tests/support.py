"""What several tests need."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pytest

    from pipelines.manifest import DataSet

CLASS_NAMES = ["dark", "bright", "<striped> [red]"]


def until(condition: Callable[[], object], timeout: float = 90.0) -> None:
    """Returns once `condition()` is true; fails after `timeout` seconds."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} did not become true in {timeout} s")
        pause.wait(0.01)


SIGTERM_AT_ANY_MOMENT = """
import os, random, signal, sys, time

for _ in range(500):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    child = os.fork()
    if not child:
        signal.alarm(10)  # kills what hangs
        os.dup2(writing, 1)
        wait_and_exit()
    os.close(writing)
    while True:
        try:
            os.read(reading, 100)
            break
        except BlockingIOError:
            pass
    moment = time.perf_counter() + random.uniform(0, 3e-5)
    while time.perf_counter() < moment:
        pass
    os.kill(child, signal.SIGTERM)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit("hangs")
"""


def assert_sigterm_is_never_missed(wait_and_exit: str) -> None:
    """wait_and_exit: Python with a function of this name that prints something, waits for SIGTERM, and exits with 0.

    The signal comes while the process is about to wait; what can miss it misses about one in a hundred.
    """
    script = [sys.executable, "-c", wait_and_exit + SIGTERM_AT_ANY_MOMENT]
    done = subprocess.run(script, capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stderr) == (0, "")


def copy_of_the_run(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this worker's own with what `make` puts there, which the first worker to ask for it calls for all of them."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # which the workers of a run share
    made = root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            aside = factory.mktemp(name)
            make(aside)
            aside.rename(made)
    return shutil.copytree(made, factory.mktemp(name), dirs_exist_ok=True)


def run_cli(*arguments: str | Path, cwd: Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """`cnn-tf ARGUMENTS` in the folder `cwd`."""
    return subprocess.run(cli(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout)


@contextmanager
def logging_kept() -> Iterator[logging.Logger]:
    """Gives the root logger; after the block, which may configure it, logging is as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield root
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)


def call_cli(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What `run_cli` gives, without a process, which takes seconds to import TensorFlow: for what is told before the work."""
    from cnn_tf.cli import main

    words = [str(argument) for argument in arguments]
    code: object = None
    before = Path.cwd()
    os.chdir(cwd)
    try:
        with logging_kept(), redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            main(words)
    except SystemExit as done:
        code = done.code
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(words, int(code or 0), out.getvalue(), err.getvalue())


def cli(*arguments: str | Path) -> Sequence[str]:
    return [sys.executable, "-m", "cnn_tf", *map(str, arguments)]


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that a small network learns in seconds: uint8 (count, 28, 28, 1), labels uint8 (count,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASS_NAMES), count).astype(np.uint8)
    noise = random.integers(0, 60, (count, 28, 28, 1))
    base = np.stack([np.full((28, 28, 1), 20), np.full((28, 28, 1), 190), np.tile([[[0]], [[190]]], (14, 28, 1))])
    return (base[labels] + noise).astype(np.uint8), labels


@dataclass(frozen=True)
class Examples:
    """A source of the pictures that a data set has in memory."""

    data: DataSet
    root: str = ""
    kept: frozenset[str] = frozenset({"duplicate", "near_duplicate", "label_conflict"})

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def class_names(self) -> list[str]:
        return self.data.class_names

    def list(self):
        from pipelines.sources import Candidate

        return [
            Candidate(f"{split}/{number:05d}", self.data.class_names[label], split)
            for split, part in sorted(self.data.splits.items())
            for number, label in enumerate(part.labels)
        ], []

    def read(self, path: str) -> bytes:
        split, _, number = path.partition("/")
        return self.data.splits[split].storage.encoded[int(number)]


def load_servable(path: Path):
    """The SavedModel in a folder, as the server runs it."""
    from serving.server import engine
    from serving.server.batching import ADAPTIVE, Batcher
    from serving.server.servable import Servable

    loaded = engine.load(path, engine.EngineOptions())
    return Servable("model", 1, loaded, Batcher(loaded.slots, ADAPTIVE, lambda *batch: None))


def write_data_set(folder: Path, data: DataSet) -> None:
    """Prepares the pictures of a data set in memory."""
    from pipelines import prepare
    from pipelines.prepare.observer import SilentObserver

    prepare.prepare(Examples(data), folder, prepare.Settings(), SilentObserver())
