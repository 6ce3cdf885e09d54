from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import logging_kept

from serving.server import logs


def record(message: str, *, level: int = logging.INFO, error: Exception | None = None, **fields: object):
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("serving.server.manager", level, "", 0, message, None, info)
    made.fields = fields
    return made


@pytest.fixture
def root_logger():
    """Logging as it was before, after a test that configures it."""
    with logging_kept() as root:
        yield root


def test_json_is_one_object_a_line():
    try:
        raise ValueError("line\nbreak")
    except ValueError as caught:
        line = logs.Json().format(record("hello\n{}", level=logging.ERROR, error=caught, model="mé", version=3))
    assert "\n" not in line
    read = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", read.pop("time"))
    assert "ValueError: line\nbreak" in read.pop("exception")
    assert read == {
        "level": "ERROR", "logger": "serving.server.manager", "message": "hello\n{}", "model": "mé", "version": 3,
    }  # fmt: skip


def test_text_is_one_line_with_its_fields():
    line = logs.Text(terminal=False).format(record("loaded", model="m", text='two "words"', nothing=""))
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO    loaded model=m text="two \\"words\\"" nothing=""', line
    )


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_text_of_clients_ends_a_line_or_moves_the_cursor(message, value):
    line = logs.Text(terminal=False).format(record(message.replace("%", "%%"), field=value))
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    assert json.loads(logs.Json().format(record("m", field=value)))["field"] == value


def test_tracebacks_are_indented():
    try:
        raise ValueError("2026-01-01 00:00:00 INFO forged\n2026-01-01 00:00:00 INFO forged")
    except ValueError as caught:
        line = logs.Text(terminal=False).format(record("failed", error=caught))
    first, *rest = line.split("\n")
    assert first.endswith("failed")
    assert all(text.startswith("    ") for text in rest)


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_colors_only_where_wanted(monkeypatch, no_color, colored):
    monkeypatch.setenv("NO_COLOR", no_color)
    line = logs.Text(terminal=True).format(record("late", level=logging.WARNING))
    assert ("\x1b" in line) == colored


def test_away_from_a_terminal_it_is_json(root_logger, capsys):
    logs.configure()
    logging.getLogger("anything").info("one")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["one"]


def test_a_flood_of_tracebacks_is_limited(root_logger, capsys):
    logs.configure()
    for _ in range(300):
        logging.getLogger("anything").error("failed", exc_info=ValueError())
    logging.getLogger("anything").error("without")
    lines = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert 100 <= lines.count("failed") < 150
    assert lines[-1] == "without"


def test_notes_of_native_code_are_kept_from_the_terminal(caplog, capfd):
    caplog.set_level(logging.DEBUG, "serving.server.logs")
    with logs.native_notes():
        os.write(2, b"I0000 port.cc:153] oneDNN\n")
    assert capfd.readouterr().err == ""
    assert caplog.messages == ["I0000 port.cc:153] oneDNN"]


def test_notes_of_native_code_are_shown_if_it_fails(capfd):
    with pytest.raises(ImportError), logs.native_notes():
        os.write(2, b"why\n")
        raise ImportError
    assert capfd.readouterr().err == "why\n"


def test_python_s_warnings_are_logged(root_logger):
    code = "from serving.server import logs; logs.configure(); import warnings; warnings.warn('careful')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "careful" in json.loads(result.stderr)["message"]
