"""The programs in examples/, run as they stand there against a real server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import CLASS_NAMES, pictures

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh"})


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A file, and the name of its class."""
    images, labels = pictures(1, seed=9)
    path = tmp_path_factory.mktemp("examples") / "picture.png"
    Image.fromarray(images[0].squeeze(-1)).save(path)
    return path, CLASS_NAMES[labels[0]]


def ask(program, server, *words):
    if program == "predict.sh" and not shutil.which("curl"):
        pytest.skip("needs curl")
    # The scheme and port alone: what is behind them is the program's to know.
    rest = server.rest_url.partition("/v1/")[0]
    address = rest if program in {"predict_rest.py", "predict.sh"} else server.grpc_address
    command = [sys.executable] * program.endswith(".py") + [str(EXAMPLES / program), address, *map(str, words)]
    return subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_class_is_told(server, picture, program):
    path, label = picture
    result = ask(program, server, "patterns", path)
    assert result.returncode == 0, result.stderr
    assert label in result.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_wrong_is_told_in_a_line(server, picture, program):
    result = ask(program, server, "none", picture[0])
    assert "none" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_each_is_in_the_list():
    page = (EXAMPLES / "README.md").read_text()
    assert [name for name in PROGRAMS if f"[{name}]({name})" not in page] == []
