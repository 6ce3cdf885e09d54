"""A signal stops the server whatever its main thread is just doing."""

from __future__ import annotations

import subprocess
import sys

from support import assert_sigterm_is_never_missed

# Children get SIGTERM right before the 1st, 2nd, ... line that their wait runs; those that have fewer, while they wait.
SCRIPT = """
import os, signal, sys, threading
from serving.server.stopping import StopRequest

def wait(kill_at):
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        if event == "line" and lines == kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return trace

    stop = StopRequest()
    signal.alarm(10)  # kills what hangs
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    sys.settrace(trace)
    stop.wait()
    os._exit(0)

for kill_at in range(1, 16):
    child = os.fork()
    if not child:
        wait(kill_at)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"hangs if SIGTERM comes before line {kill_at}")
"""


def test_sigterm_is_never_missed():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stderr) == (0, "")


def test_nor_right_before_the_wait():
    assert_sigterm_is_never_missed("""
import os
from serving.server.stopping import StopRequest

def wait_and_exit():
    stop = StopRequest()
    os.write(1, b"Ready")
    sum(range(500))  # as long as the signal takes at least
    stop.wait()
    os._exit(0)
""")
