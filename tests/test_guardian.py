"""What tests start ends with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import until

TESTS = Path(__file__).parent
STARTS_ONE = """
import subprocess, sys, guardian
with guardian.guarded():
    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    print(subprocess.Popen(child, start_new_session=True).pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [True, False])
def test_a_process_ends_with_the_tests_that_started_it(killed):
    command = [sys.executable, "-c", STARTS_ONE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS) as tests:
        started = psutil.Process(int(tests.stdout.readline()))
        if killed:
            tests.kill()
    until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE, 20)
