"""docs/lecture-note.md: its code prints what it shows, its links lead somewhere, its pictures can be drawn."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docs.drawings import catalogue, colour, costs, functions, moments
from pipelines.reports import figures

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "lecture-note.md").read_text()
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)

NOTE_HEADINGS = [
    "卷积层", "填充和步幅", "填充", "步幅", "通道数", "多个输入通道", "多个输出通道", "1x1 卷积层", "二维卷积层的参数",
    "池化/汇聚层 (Pooling)", "二维最大池化", "平均池化层", "LeNet", "AlexNet", "VGG", "网络中的网络 NiN", "NiN 块", "Summary",
    "含并行连结的网络 GoogLeNet", "Inception 块", "Architecture", "批量归一化 Batch Normalization", "Method", "Summary",
    "ResNet", "残差块", "ResNet-18",
]  # fmt: skip
IMAGES = re.findall(r'<img src="([^"]+)" width="(\d+)" alt="[^"]+">', PROSE)
MEASURED = [name for name, drawing in catalogue.DRAWINGS.items() if drawing.measure]


def snippets():
    """(line, code, what it prints) of each block of Python."""
    pattern = r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?"
    matches = list(re.finditer(pattern, PAGE, re.MULTILINE | re.DOTALL))
    return [(PAGE[: match.start()].count("\n") + 2, match[1], match[2]) for match in matches]


def headings():
    return re.findall(r"^##+ (.*)", PROSE, re.MULTILINE)


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("line", "code", "shown"), [pytest.param(*each, id=f"line {each[0]}") for each in snippets()])
def test_a_snippet_prints_what_the_page_shows(line, code, shown):
    assert shown, "a snippet without output shows nothing"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, f"lecture-note.md, line {line}", "exec"), {"__name__": "page"})
    assert printed.getvalue() == shown


def test_every_section_has_a_snippet_or_sections_below():
    sections = re.split(r"^##+ .*\n", PAGE, flags=re.MULTILINE)[1:]
    without = {heading for heading, text in zip(headings(), sections, strict=True) if "```python" not in text}
    # Their sub-sections have them.
    assert without == {
        "Padding and strides · 填充和步幅",
        "Channels · 通道数",
        "GoogLeNet · 含并行连结的网络 GoogLeNet",
        "Batch normalisation · 批量归一化 Batch Normalization",
        "Batch normalisation: summary · Summary",
        "ResNet",
    }


def test_the_notes_headings_are_all_there_in_their_order():
    assert [heading.split(" · ")[-1] for heading in headings()] == NOTE_HEADINGS


def test_every_section_has_a_picture():
    sections = re.split(r"^##+ .*\n", PROSE, flags=re.MULTILINE)[1:]
    without = [
        heading
        for heading, text in zip(headings(), sections, strict=True)
        if "](pictures/" not in text and "<img" not in text
    ]
    assert without == []


def test_every_section_or_the_one_above_it_links_its_code_and_its_test():
    for section in re.split(r"^(?=## )", PROSE, flags=re.MULTILINE)[1:]:
        last = section.rstrip().split("\n\n")[-1]  # behind all of its sub-sections
        code, _, tests = last.partition("Tests:")
        assert code.startswith("Code: "), section.splitlines()[0]
        assert "](../cnn_tf/" in code, last
        assert "](../tests/" in tests, last


def test_links_lead_somewhere():
    anchors = {slug(heading) for heading in headings()}
    links = re.findall(r"\]\(([^)]+)\)", PROSE) + [source for source, _ in IMAGES]
    assert len(links) > 50
    for target in links:
        assert target[1:] in anchors if target.startswith("#") else (ROOT / "docs" / target).is_file(), target


def test_linked_names_are_in_their_files():
    names = re.findall(r"\[`\w+\.(?!py)(\w+)`\]\(([^)]+)\)", PROSE)
    assert len(names) > 20
    for name, target in names:
        code = (ROOT / "docs" / target).read_text()
        assert re.search(rf"^(def|class) {name}\b|^{name}\b", code, re.MULTILINE), (name, target)


def test_the_page_shows_every_drawing_once_and_nothing_else():
    shown = re.findall(r"!\[[^\]]+\]\(pictures/(\w+)\.svg\)", PROSE) + [Path(source).stem for source, _ in IMAGES]
    assert sorted(shown) == sorted(catalogue.NAMES)
    files = {path.stem for path in catalogue.PICTURES.iterdir()} - {"measurements"}
    assert files == set(catalogue.NAMES)


def test_pictures_stand_at_the_size_that_they_were_drawn_for():
    for source, width in IMAGES:
        with Image.open(ROOT / "docs" / source) as picture:
            assert picture.width == figures.SCALE * int(width), source


def test_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in catalogue.PICTURES.iterdir()}
    assert max(sizes.values()) < 150_000, sizes
    assert sum(sizes.values()) < 2_000_000


def test_the_tables_show_what_was_measured():
    assert PAGE.count("<!-- measured: ") == len(MEASURED)
    assert catalogue.with_tables(PAGE) == PAGE


def test_what_the_text_says_of_the_measurements_is_true():
    measured = json.loads(catalogue.MEASUREMENTS.read_text())
    loss = {name: sum(curve["losses"][-4:]) / 4 for name, curve in measured["depth"].items()}
    assert loss["plain56"] > 1.5 * loss["plain20"]
    assert loss["resnet56"] < 1.2 * loss["resnet20"]
    for rate in ("0.1", "1.0"):
        without, with_it = (
            measured["batch_norm"][f"{name} at {rate}"]["losses"][-1] for name in ("lenet5", "lenet5_bn")
        )
        assert with_it < without


def test_what_the_drawings_say_is_true():
    sizes = moments.gradients(moments.LAYERS, moments.UNITS)
    assert sizes == sorted(sizes)
    grey = colour.grey(colour.tomato())
    assert np.ptp(grey) < 1 / 255
    assert list(costs.DEPTHS.values()) == [8, 19, 22, 101, 152]
    gaps = [functions.gap(disc) for disc in functions.NESTED]
    assert gaps == sorted(gaps, reverse=True)
    assert min(gaps) > 0
    assert functions.gap(functions.APART[-1]) > functions.gap(functions.APART[0])
    for (smaller, small), (larger, large) in itertools.pairwise(functions.NESTED):
        assert np.hypot(*np.subtract(smaller, larger)) + small < large
    for (smaller, small), (larger, large) in itertools.pairwise(functions.APART):
        assert np.hypot(*np.subtract(smaller, larger)) + small > large


@pytest.mark.parametrize("name", catalogue.DRAWINGS)
def test_every_picture_can_be_drawn_without_training(name, tmp_path):
    path = catalogue.draw(name, tmp_path)
    again = path.read_bytes()
    catalogue.draw(name, tmp_path)
    assert path.read_bytes() == again
    with Image.open(path) as picture:
        assert picture.width > 1000
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)  # readable on a dark page too


def test_a_diagram_can_be_drawn(tmp_path):
    path = catalogue.draw("lenet5", tmp_path)
    assert "<svg" in path.read_text()


def test_an_unknown_drawing_is_told_the_known_ones():
    result = subprocess.run(
        [sys.executable, "-m", "docs.drawings", "paddin"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 2
    assert "paddin" in result.stderr
    assert "shrinking" in result.stderr
