"""The programs in examples/, run as they stand there against a real server.

That for Node runs where NODE_PATH has its packages: `npm install --no-save @grpc/grpc-js @grpc/proto-loader` somewhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image
from support import CLASS_NAMES, pictures

EXAMPLES = Path(__file__).parent.parent / "examples"
# suffix -> what runs such a file; a script says so in its first line
RUN_BY = {".js": ["node"], ".py": [sys.executable], ".sh": []}
# program -> a command that succeeds where what it needs is there
NEEDS = {
    "predict.js": ["node", "-r", "@grpc/grpc-js", "-r", "@grpc/proto-loader", "-e", ""],
    "predict.sh": ["curl", "--version"],
}
PROGRAMS = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in RUN_BY)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A file, and the name of its class."""
    images, labels = pictures(1, seed=9)
    path = tmp_path_factory.mktemp("examples") / "picture.png"
    Image.fromarray(images[0].squeeze(-1)).save(path)
    return path, CLASS_NAMES[labels[0]]


def skip_without_what_it_needs(program):
    command = NEEDS.get(program)
    if command and (
        not shutil.which(command[0]) or subprocess.run(command, cwd=EXAMPLES, capture_output=True).returncode
    ):
        pytest.skip(f"{program} needs what examples/README.md says")


def ask(program, server, *words):
    skip_without_what_it_needs(program)
    # The scheme and port alone: what is behind them is the program's to know.
    rest = server.rest_url.partition("/v1/")[0]
    address = rest if program in {"predict_rest.py", "predict.sh"} else server.grpc_address
    command = [*RUN_BY[Path(program).suffix], str(EXAMPLES / program), address, *map(str, words)]
    return run(command)


def run(command):
    return subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, text=True, timeout=100)


def is_one_line(result):
    return result.returncode and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_class_is_told(server, picture, program):
    path, label = picture
    result = ask(program, server, "patterns", path)
    assert result.returncode == 0, result.stderr
    assert label in result.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_arguments_it_says_how_it_is_called(program):
    skip_without_what_it_needs(program)
    result = run([*RUN_BY[Path(program).suffix], str(EXAMPLES / program)])
    assert is_one_line(result)
    assert f"{program} " in result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_picture_that_is_not_there_is_named(server, tmp_path, program):
    result = ask(program, server, "patterns", tmp_path / "none.png")
    assert result.returncode
    assert "none.png" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "\n    at " not in result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_wrong_is_told_in_a_line(server, picture, program):
    result = ask(program, server, "none", picture[0])
    assert "none" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "\n    at " not in result.stderr  # what Node calls a traceback


def test_one_bad_picture_of_many(server, picture, tmp_path):
    path, label = picture
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    result = ask("predict_async.py", server, "patterns", path, bad, path)
    assert result.returncode == 1
    first, second, third = result.stdout.splitlines()
    assert first == third
    assert first.startswith(f"{path}: {label} (")
    assert second.startswith(f"{bad}: the model refuses it: ")


def test_each_is_in_the_list():
    page = (EXAMPLES / "README.md").read_text()
    assert [name for name in PROGRAMS if f"[{name}]({name})" not in page] == []
