"""What the terminal shows, rendered into text; and a real process on a pseudo terminal."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import signal
import subprocess
import sys

import pytest
from rich.console import Console
from support import until

from serving.server import live
from serving.server.live import Addresses, Model, Snapshot, Version
from serving.server.live.tables import served, state
from serving.server.metrics import Rates
from serving.wire import messages_pb2

ADDRESSES = Addresses("localhost:8500", "http://localhost:8501")
BUSY = Rates(requests_per_second=6981.4, errors_per_second=0.3, p50=0.00112, p99=0.0487, requests=1_234_567, errors=3)
SIGNATURES = {"serving_default": "images: uint8 [?, 28, 28, 1]", "serve_bytes": "encoded: string [?]"}
LENET = Model("lenet", [Version(3, "AVAILABLE", signatures=SIGNATURES, summary="frozen, 2 slots")], BUSY, queue=7)
SLOW = Model("resnet18", [Version(2, "END", failed=True), Version(1, "AVAILABLE"), Version(0, "END")])


def rendered(renderable: object, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def state_of(*models: Model, width: int = 80, height: int = 24, seconds: float = 61) -> list[str]:
    return rendered(state(Snapshot(models, BUSY, 512 * 2**20), seconds, width, height), width)


def test_what_is_served_where():
    assert rendered(served([LENET, SLOW], ADDRESSES)) == [
        "",
        "  gRPC  localhost:8500",
        "  REST  http://localhost:8501/v1/models/MODEL:predict",
        "",
        "  lenet  version 3  frozen, 2 slots",
        "    serving_default  images: uint8 [?, 28, 28, 1]",
        "    serve_bytes      encoded: string [?]",
        "",
        "  resnet18  version 2 failed, 1",
        "",
    ]


def test_the_url_of_the_only_model_and_ports_that_are_off():
    lines = rendered(served([LENET], Addresses(None, "http://localhost:1")))
    assert lines[1:3] == ["  gRPC  off", "  REST  http://localhost:1/v1/models/lenet:predict"]


def test_how_it_does():
    assert state_of(LENET, SLOW)[1:] == [
        "  Model     Version        Req/s      p50      p99    Queue  Errors/s",
        "  lenet     3              6,981   1.1 ms    49 ms        7       0.3",
        "  resnet18  2 failed, 1        -        -        -        -         -",
        "  all                      6,981   1.1 ms    49 ms        7       0.3",
        "  1,234,567 requests · 3 failed · up 1 min 1 s · 512 MiB · Ctrl-C stops",
    ]


@pytest.mark.parametrize("width", [40, 60, 72, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_none_is_broken(width):
    lines = state_of(LENET, SLOW, Model("x" * 300, [Version(10**15, "LOADING")] * 9), width=width)
    assert len(lines) == 7
    assert all(len(line) <= width for line in lines)
    assert "6,981" in lines[2]


def test_many_models_leave_room_for_the_log_and_the_busiest_are_shown():
    quiet = [Model(f"m{number}", [Version(1, "AVAILABLE")]) for number in range(100)]
    lines = state_of(*quiet, LENET, height=24)
    assert len(lines) <= 14
    assert "lenet" in lines[2]
    assert "all, 92 more" in lines[-2]


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "up 5 s"), (65, "up 1 min 5 s"), (3725, "up 1 h 2 min"), (90000, "up 1 d 1 h")]
)
def test_uptime(seconds, text):
    assert text in state_of(LENET, seconds=seconds)[-1]


def test_inputs_of_a_signature():
    signature = messages_pb2.SignatureDef()
    signature.inputs["images"].dtype = messages_pb2.DT_UINT8
    for size in (-1, 28, 28):
        signature.inputs["images"].tensor_shape.dim.add(size=size)
    signature.inputs["free"].dtype = messages_pb2.DT_FLOAT
    signature.inputs["free"].tensor_shape.unknown_rank = True
    assert live.describe_inputs(signature) == "free: float; images: uint8 [?, 28, 28]"


def test_away_from_a_terminal_there_are_log_lines(caplog, capsys):
    caplog.set_level(logging.INFO, "serving.server.live")
    with live.shown(lambda: Snapshot([LENET], BUSY, 1), ADDRESSES):
        pass
    assert capsys.readouterr().out == ""
    assert caplog.messages == ["Serving lenet", "Serving lenet"]
    assert caplog.records[0].fields["inputs"] == "images: uint8 [?, 28, 28, 1]"


SERVER = """
import signal, threading
from serving.server import live, logs
from serving.server.metrics import Rates
logs.configure()
import logging
stopping, calls = threading.Event(), []
signal.signal(signal.SIGINT, lambda *_: stopping.set())
def snapshot():
    calls.append(1)
    if len(calls) == {fails}: raise RuntimeError("no snapshot")
    return live.Snapshot([live.Model("lenet", [live.Version(1, "AVAILABLE")])], Rates(), 2**20)
live.REFRESH_SECONDS = 0.05
print("Ready. gRPC: a  REST: b", flush=True)
with live.shown(snapshot, live.Addresses("a", "b")):
    while not stopping.wait(0.02):
        logging.info("a log line that must stay whole")
logging.info("Stopped")
"""


class Terminal:
    """A process on a pseudo terminal, and what it has written there."""

    def __init__(self, code: str) -> None:
        self.main, child = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment,
            start_new_session=True,
        )
        os.close(child)
        self.output = b""

    def has(self, text: bytes) -> bool:
        """Whether it has written this, after reading a bit more."""
        self._read()
        return text in self.output

    def finish(self) -> str:
        while self._read():
            pass
        os.close(self.main)
        assert self.process.wait(30) == 0
        return self.output.decode()

    def _read(self) -> bool:
        try:
            data = os.read(self.main, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            return False
        self.output += data
        return bool(data)


def test_ctrl_c_gives_the_terminal_back():
    terminal = Terminal(SERVER.format(fails=0))
    until(lambda: terminal.has(b"Ctrl-C stops") and terminal.output.count(b"a log line") > 3)
    terminal.process.send_signal(signal.SIGINT)
    written = terminal.finish()
    assert written.startswith("Ready. gRPC: a  REST: b\r\n")
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1, "the cursor is hidden, and shown again"
    assert written.rindex("Stopped") > written.index("\x1b[?25h")
    logged = re.findall(r"a log line.*", written)
    assert len(logged) > 3
    assert all(line.startswith("a log line that must stay whole") for line in logged)


def test_a_view_that_fails_does_not_stop_the_server():
    terminal = Terminal(SERVER.format(fails=3))
    until(lambda: terminal.has(b"The live view is off after an error"))
    terminal.process.send_signal(signal.SIGINT)
    assert "Stopped" in terminal.finish()
