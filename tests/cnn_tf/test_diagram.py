"""Drawings of networks, and what they are drawn from."""

from __future__ import annotations

import functools
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cnn_tf import cli, diagram, examination
from cnn_tf.diagram.outline import Branches, outline, structure

DRAWN = ["lenet5", "lenet5_paper", "alexnet_paper", "googlenet", "resnet110", "densenet_d2l", "mobilenet_v3_small"]


@functools.cache
def rows(name):
    return examination.examine(name, None, None, 1).layers


def stages(name):
    return {stage.name: stage for stage in outline(rows(name))}


def texts(file):
    return [element.text for element in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]


def test_a_stage_knows_its_blocks_and_sums():
    stage = stages("resnet50")["stage2"]
    first, others = stage.runs
    assert (first.blocks, others.blocks) == (("block1",), ("block2", "block3", "block4"))
    assert structure(first.path) == (("Add", ("1×1 /2",), ("1×1", "3×3 /2", "1×1")),)
    assert structure(others.path) == (("Add", (), ("1×1", "3×3", "1×1")),)
    assert stage.output_shape == (28, 28, 512)
    assert stage.totals.parameters == 1_219_584


def test_branches_of_blocks_that_differ_in_channels_only_are_one():
    inceptions, pool = stages("googlenet_paper")["stage4"].runs
    assert inceptions.blocks == ("a", "b", "c", "d", "e")
    (branches,) = inceptions.path
    assert isinstance(branches, Branches)
    assert [structure(path) for path in branches.paths] == [
        ("1×1",),
        ("1×1", "3×3"),
        ("1×1", "5×5"),
        ("max pool 3×3", "1×1"),
    ]
    assert branches.paths[0][0].channels == (112, 256)
    assert structure(pool.path) == ("max pool 3×3 /2",)


def test_kernels_strides_and_groups_are_told():
    assert structure(stages("alexnet_paper")["stage2"].runs[0].path) == ("5×5, 2 groups", "LRN", "max pool 3×3 /2")
    assert structure(stages("alexnet_d2l")["stage1"].runs[0].path) == ("11×11 /4", "max pool 3×3 /2")
    assert structure(stages("convnext_tiny")["stage2"].runs[0].path) == ("2×2 /2",)
    assert structure(stages("convnext_tiny")["stage2"].runs[1].path) == (("Add", (), ("7×7 dw", "1×1", "1×1")),)
    assert "3×3, 32 groups" in structure(stages("resnext50")["stage1"].runs[1].path)[0][2]
    assert structure(stages("mobilenet_v3_small")["stage1"].runs[0].path) == ("3×3 dw /2", "SE", "1×1")
    assert structure(stages("resnet20")["stage2"].runs[0].path)[0][1] == ("1 of 2×2",)


@pytest.mark.parametrize("name", DRAWN)
def test_svg_names_every_stage(tmp_path, name):
    diagram.save(rows(name), name, tmp_path / "network.svg")
    written = texts(tmp_path / "network.svg")
    assert written[0] == name
    assert {stage.name for stage in outline(rows(name))} <= set(written)


def test_svg_shows_repeats_shortcuts_and_totals(tmp_path):
    diagram.save(rows("densenet_d2l"), "densenet_d2l", tmp_path / "network.svg")
    written = texts(tmp_path / "network.svg")
    assert {"× 4", "concat", "layer1–4", "each sees all before it"} <= set(written)
    assert any("758 k parameters" in text and "129 M multiply-adds" in text for text in written)


def test_the_same_network_gives_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        diagram.save(rows("lenet5"), "lenet5", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_reaches_the_edge(tmp_path, name):
    diagram.save(rows(name), name, tmp_path / "network.png")
    with Image.open(tmp_path / "network.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    margin = 40  # dots
    assert (pixels[margin:-margin, margin:-margin] < 128).any()
    for edge in (pixels[:margin], pixels[-margin:], pixels[:, :margin], pixels[:, -margin:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("name", DRAWN)
def test_texts_do_not_overlap(name):
    figure = diagram.draw(rows(name), name).figure
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts if text.get_text()]
    for number, (text, box) in enumerate(boxes):
        for other, second in boxes[:number]:
            inner = box.intersection(box, second)
            assert inner is None or min(inner.width, inner.height) < 2, (text, other)


def test_a_picture_that_is_not_square_and_a_single_class(tmp_path):
    diagram.save(examination.examine("resnet18", (64, 200, 1), 1, 1).layers, "resnet18", tmp_path / "network.svg")
    assert {"64×200×1", "2×7×512"} <= set(texts(tmp_path / "network.svg"))


def test_describe_writes_the_drawing(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["describe", "lenet5", "--plot", str(tmp_path / "lenet5.PNG")])
    assert not end.value.code
    assert capsys.readouterr().err == f"Wrote {tmp_path / 'lenet5.PNG'}\n"
    with Image.open(tmp_path / "lenet5.PNG") as picture:
        assert picture.format == "PNG"
