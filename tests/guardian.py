"""Ends what a test run has started when the run is over, however it ended.

A pytest that is killed cannot stop its servers. So each process that runs tests starts this file as a process of its own, and
marks its environment, which all that it starts inherit. The guardian's standard input closes when the tests' process is gone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import psutil

MARK = "CNN_TF_TEST_RUN"


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """For the time of the block, processes that this one starts do not outlive it."""
    os.environ[MARK] = uuid.uuid4().hex
    # A session of its own: what kills the tests' group spares the one who tidies up.
    guardian = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        guardian.communicate()
        del os.environ[MARK]


def _kill_marked(mark: str) -> None:
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get(MARK) == mark and process.pid != os.getpid():
            with contextlib.suppress(psutil.Error):  # it may be gone by now
                process.kill()


if __name__ == "__main__":
    sys.stdin.read()
    _kill_marked(os.environ[MARK])
