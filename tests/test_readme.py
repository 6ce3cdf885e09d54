"""README's commands and code, run as they stand there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import CLASS_NAMES, pictures, run_cli, write_data_set

from serving.server import process
from serving.server.command_line import FLAGS
from serving.server.metrics import Metrics

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SERVING = (ROOT / "docs" / "serving.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell_lines():
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def commands(name):
    """Lines of README's shell blocks that begin with `name`, as words, in order and without repetition."""
    return list(dict.fromkeys(tuple(shlex.split(line)) for line in shell_lines() if line.split()[0] == name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder in which Fashion-MNIST is a small and easy data set."""
    from pipelines import manifest

    folder = tmp_path_factory.mktemp("readme")
    data = manifest.from_arrays("fashion_mnist", CLASS_NAMES, {"train": pictures(40, 1), "test": pictures(20, 2)})
    write_data_set(folder / "data" / "fashion_mnist", data)
    for name in ("rose", "tulip"):
        (folder / "photos" / name).mkdir(parents=True)
        for number, image in enumerate(np.random.default_rng(len(name)).integers(0, 256, (4, 40, 50, 3), np.uint8)):
            Image.fromarray(image).save(folder / "photos" / name / f"{number}.jpg")
    return folder


@pytest.mark.timeout(900)  # a training from scratch is among them
def test_the_commands_and_the_code_work_in_their_order(folder):
    every = commands("cnn-tf")
    before, after = (
        every[: every.index(("cnn-tf", "serve", "models/"))],
        every[every.index(("cnn-tf", "serve", "models/")) + 1 :],
    )
    for words in before:
        result = run_cli(*words[1:], cwd=folder)
        assert result.returncode == 0, f"{words}: {result.stderr}"
    images = folder / "runs" / "fashion_mnist" / "pictures"
    images.mkdir()
    Image.fromarray(pictures(1, 3)[0][0].squeeze(-1)).save(images / "0-ankle-boot.png")
    with process.running([str(folder / "models")]) as server:
        for words in after:
            result = run_cli(*(word.replace("localhost:8500", server.grpc_address) for word in words[1:]), cwd=folder)
            assert result.returncode == 0, f"{words}: {result.stderr}"
        code = "".join(blocks("python")[1:]).replace("localhost:8500", server.grpc_address)
        result = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", code], cwd=folder, capture_output=True, text=True
        )
    assert result.returncode == 0, result.stderr
    # The second is exported meanwhile.
    assert re.search("by version [12]$", result.stdout, re.MULTILINE)


def test_the_networks_block_prints_what_it_says():
    code = blocks("python")[0]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"# {result.stdout.strip()} " in code, result.stderr


def test_every_make_target_is_there():
    assert len(commands("make")) >= 2
    for words in commands("make"):
        subprocess.run([*words, "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_the_first_screen_has_the_two_commands():
    assert {"make demo", "make test"} <= {line.partition("#")[0].strip() for line in README.splitlines()[:30]}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/serving.md"])
def test_links_to_files_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / name).read_text()):
        assert ((ROOT / name).parent / target).exists(), target


def test_the_flags_that_the_server_s_pages_name_are_there():
    pages = README[README.index("## The embedded server") : README.index("## More")] + SERVING
    named = set(re.findall(r"`--(\w+)", pages))
    assert named - set(FLAGS) == {"name"}


def test_every_flag_beyond_the_original_and_every_family_of_ours_is_described():
    table = SERVING[SERVING.index("| flag |") : SERVING.index("## Differences")]
    ours = set(re.findall(r"^\| `--(\w+)|, `--(\w+)", table, re.MULTILINE))
    ours = {name for pair in ours for name in pair if name} - {"port", "rest_api_port"}
    assert len(ours) == len(FLAGS) - 48
    families = set(re.findall(r"^# TYPE (cnn_tf_\w+)", Metrics().page(), re.MULTILINE))
    assert families
    assert families - set(re.findall(r"cnn_tf_\w+", SERVING)) == set()


def test_the_snippets_of_the_server_s_page_can_be_compiled():
    for code in re.findall(r"^```python\n(.*?)^```", SERVING, re.MULTILINE | re.DOTALL):
        compile(code, "serving.md", "exec")


def test_the_measured_table_is_that_of_the_benchmark():
    measured = (ROOT / "benchmarks" / "results" / "client_import.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| ([\d.]+) \| (\d+) \|", README, re.MULTILINE)
    assert len(rows) == 2
    for row in rows:
        assert "| `{}` | {} | {} |".format(*row) in measured


@pytest.mark.parametrize(("name", "rows"), [("data", 9), ("data_memory", 4)])
def test_rows_of_measured_tables_begin_as_the_benchmarks_have_them(name, rows):
    measured = (ROOT / "benchmarks" / "results" / f"{name}.md").read_text().splitlines()
    quoted = [line for line in README.splitlines() if line.startswith("| ")]
    assert sum(line.startswith(tuple(quoted)) for line in measured[4:]) == rows
