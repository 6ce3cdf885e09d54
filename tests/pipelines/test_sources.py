from __future__ import annotations

import csv
import gzip
import io
import json
import os
import posixpath
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipelines.errors import DataDamaged, DataUnavailable, PipelineError, UsageError
from pipelines.problems import ProblemKind
from pipelines.sources import PUBLISHED, SOURCES, Candidate, describe_sources, emoji, open_source
from pipelines.sources.arrays import to_png
from pipelines.sources.idx import to_idx

PNG = to_png(np.full((4, 4, 3), 7, np.uint8))


@pytest.fixture(params=["local", "remote"])
def place(request, tmp_path):
    """An empty folder, local or of fsspec's file system in memory, as a URL."""
    if request.param == "local":
        yield str(tmp_path)
        return
    fs = fsspec.filesystem("memory")
    yield "memory://" + tmp_path.name
    fs.rm("/" + tmp_path.name, recursive=True)


def fill(place, *paths, content=PNG):
    for path in paths:
        fs, root = fsspec.url_to_fs(place)  # a path may have "::" in it, which joins URLs
        fs.makedirs(posixpath.dirname(posixpath.join(root, path)), exist_ok=True)
        with fs.open(posixpath.join(root, path), "wb") as file:
            file.write(content)
    return place


def listed(source):
    """(path, label, split) of each candidate; (kind, path) of each problem."""
    candidates, problems = source.list()
    assert candidates == sorted(candidates, key=lambda candidate: candidate.path)
    assert problems == sorted(problems)
    assert {type(candidate) for candidate in candidates} <= {Candidate}
    return [(c.path, c.label, c.split) for c in candidates], [(p.kind, p.path) for p in problems]


def check(source):
    """What holds for each source; -> pixels by path."""
    candidates, _ = source.list()
    assert len({candidate.path for candidate in candidates}) == len(candidates)
    with ThreadPoolExecutor(4) as threads:
        contents = list(threads.map(source.read, [candidate.path for candidate in candidates]))
    return {
        c.path: np.asarray(Image.open(io.BytesIO(content))) for c, content in zip(candidates, contents, strict=True)
    }


# Folders


def test_class_folders(place):
    fill(place, "cat/1.png", "cat/deep/er/2", "dog/3.png", "dog/Ünï, ö 猫.png")
    source = open_source(place)
    assert listed(source) == (
        [
            ("cat/1.png", "cat", None),
            ("cat/deep/er/2", "cat", None),
            ("dog/3.png", "dog", None),
            ("dog/Ünï, ö 猫.png", "dog", None),
        ],
        [],
    )
    with fsspec.open(f"{source.root}/dog/3.png") as file:
        assert file.read() == PNG
    assert source.kept == frozenset()
    assert len(check(source)) == 4


SPLIT_FOLDERS = {
    "train": ["train", "Training"],
    "validation": ["val", "valid", "validation", "dev"],
    "test": ["testing", "TEST"],
}


@pytest.mark.parametrize("name", ["a::b", "memory:/b", "zip::c"])
def test_a_folder_may_have_a_name_that_looks_like_a_url(tmp_path, monkeypatch, name):
    for label in ("cat", "dog"):
        (tmp_path / name / label).mkdir(parents=True)
        (tmp_path / name / label / "1.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    for place in (name, str(tmp_path / name), f"./{name}/cat/../"):
        assert listed(open_source(place)) == ([("cat/1.png", "cat", None), ("dog/1.png", "dog", None)], [])


@pytest.mark.parametrize(
    ("folder", "split"), [(folder, split) for split, folders in SPLIT_FOLDERS.items() for folder in folders]
)
def test_split_folders(tmp_path, folder, split):
    fill(str(tmp_path), f"{folder}/cat/1.png", f"{folder}/dog/x/2.png")
    paths = [(f"{folder}/cat/1.png", "cat", split), (f"{folder}/dog/x/2.png", "dog", split)]
    assert listed(open_source(str(tmp_path))) == (paths, [])


def test_a_class_may_be_called_train(place):
    fill(place, "train/1.png", "bus/2.png")
    assert [label for _, label, _ in listed(open_source(place))[0]] == ["bus", "train"]


def test_what_systems_leave_is_ignored(place):
    fill(place, "cat/1.png", "dog/2.png")
    fill(
        place,
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "dog/desktop.ini",
        "dog/.hidden/3.png",
        ".git/x.png",
        "__MACOSX/cat/1.png",
    )
    fill(place, "README.txt")
    assert listed(open_source(place)) == ([("cat/1.png", "cat", None), ("dog/2.png", "dog", None)], [])


def test_a_class_without_files_is_a_problem(tmp_path):
    fill(str(tmp_path), "cat/1.png", "dog/2.png")
    (tmp_path / "eel" / "inner").mkdir(parents=True)
    assert listed(open_source(str(tmp_path)))[1] == [(ProblemKind.EMPTY_CLASS, "eel")]


def test_an_empty_class_of_one_split_is_named_with_its_split(tmp_path):
    fill(str(tmp_path), "train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    (tmp_path / "test" / "dog").mkdir()
    assert listed(open_source(str(tmp_path)))[1] == [(ProblemKind.EMPTY_CLASS, "test/dog")]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["1.png", "2.JPG"], r"holds no folders.*one for each class, such as cat/1\.jpg"),
        (["notes.txt"], "holds no folders.*cat/1.jpg.*manifest.csv"),
        (["cat/1.png"], "one class folder alone, 'cat'.*at least two"),
        (["mine/cat/1.png", "mine/dog/2.png"], "name it: .*/mine"),
        (["train/1.png", "test/2.png"], "test, train .*hold no class folders"),
        (["train/cat/1.png", "train/dog/2.png", "extra/3.png"], r"mixes splits \(train\) with other folders \(extra\)"),
    ],
)
def test_a_folder_of_another_layout_is_refused(place, paths, message):
    fill(place, *paths)
    with pytest.raises(UsageError, match=message):
        open_source(place).list()


def test_links_are_followed_inside_and_refused_outside(tmp_path):
    root = tmp_path / "root"
    fill(str(root), "cat/1.png", "dog/2.png", "dog/deep/3.png")
    fill(str(tmp_path), "outside/secret.png", "root-like/secret.png")
    (root / "cat" / "same.png").symlink_to("../dog/2.png")
    (root / "cat" / "dogs").symlink_to(root / "dog")
    (root / "cat" / "circle").symlink_to(root)
    (root / "dog" / "self").symlink_to(".")
    (root / "dog" / "loop").symlink_to("loop")
    (root / "dog" / "gone.png").symlink_to("nowhere.png")
    (root / "dog" / "out.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "dog" / "sibling.png").symlink_to("../../root-like/secret.png")
    (root / "fish").symlink_to("../outside")
    candidates, problems = listed(open_source(str(root)))
    assert [path for path, _, _ in candidates] == [
        "cat/1.png", "cat/dogs/2.png", "cat/dogs/deep/3.png", "cat/same.png", "dog/2.png", "dog/deep/3.png"
    ]  # fmt: skip
    assert {path for kind, path in problems if kind == ProblemKind.OUTSIDE_LINK} >= {
        "dog/out.png",
        "dog/sibling.png",
        "fish",
    }
    assert {path for kind, path in problems if kind == ProblemKind.UNREADABLE} >= {
        "cat/circle",
        "dog/loop",
        "dog/gone.png",
    }
    assert {kind for kind, _ in problems} == {ProblemKind.OUTSIDE_LINK, ProblemKind.UNREADABLE}


def test_folders_that_link_to_each_other_end(tmp_path):
    fill(str(tmp_path), "a/1.png", "b/2.png")
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")
    candidates, _ = listed(open_source(str(tmp_path)))
    assert {"a/1.png", "b/2.png"} <= {path for path, _, _ in candidates}
    assert len(candidates) < 10


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system refuses such names")
def test_names_that_are_no_text_are_a_problem(tmp_path):
    fill(str(tmp_path), "cat/1.png", "dog/2.png")
    Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/\xff.png")).write_bytes(PNG)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe")).mkdir()
    candidates, problems = listed(open_source(str(tmp_path)))
    assert len(candidates) == 2
    assert problems == [(ProblemKind.UNREADABLE, r"\xfe"), (ProblemKind.UNREADABLE, r"cat/\xff.png")]


def test_pipes_are_not_waited_for(tmp_path):
    fill(str(tmp_path), "cat/1.png", "dog/2.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    assert listed(open_source(str(tmp_path)))[1] == [(ProblemKind.UNREADABLE, "cat/pipe.png")]


def test_a_stamp_changes_with_the_file(place):
    fill(place, "cat/1.png", "dog/2.png")
    before = {candidate.path: candidate.stamp for candidate in open_source(place).list()[0]}
    fill(place, "cat/1.png", content=PNG[::-1])  # as long as before
    if place.startswith("/"):
        os.utime(f"{place}/cat/1.png", (1, 1))  # whatever the clock's resolution
    after = {candidate.path: candidate.stamp for candidate in open_source(place).list()[0]}
    assert [path for path in before if before[path] != after[path]] == ["cat/1.png"]


def test_a_file_that_is_gone_is_an_os_error(place):
    source = open_source(fill(place, "cat/1.png", "dog/2.png"))
    with pytest.raises(OSError):  # noqa: PT011 as the protocol has it
        source.read("cat/nothing.png")


# Tables


def table(place, text, name="manifest.csv"):
    fill(place, name, content=text.encode() if isinstance(text, str) else text)
    return open_source(posixpath.join(place, name))


def rows_as(name, rows):
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter="\t" if name.endswith(".tsv") else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_table_in_each_form(place, name, bom):
    fill(place, "x/1.png", "x/a, b 猫.png", "3.png")
    rows = [
        {"path": "x/1.png", "label": "cat", "split": "train", "weight": 2, "patient": "p1", "more": 1},
        {"path": "x/a, b 猫.png", "label": "dög", "split": "VAL", "weight": "", "patient": "p2", "more": 2},
        {"path": "./x/../3.png", "label": "7", "split": "", "weight": 0.5, "patient": "p1", "more": 3},
    ]
    fill(place, name, content=(bom + rows_as(name, rows)).encode())
    source = open_source(posixpath.join(place, name), group="patient")
    candidates, problems = source.list()
    assert problems == []
    assert [(c.path, c.label, c.split, c.group, c.weight) for c in candidates] == [
        ("3.png", "7", None, "p1", 0.5),
        ("x/1.png", "cat", "train", "p1", 2.0),
        ("x/a, b 猫.png", "dög", "validation", "p2", 1.0),
    ]
    assert all(candidate.stamp for candidate in candidates)
    assert source.name == "a"
    assert len(check(source)) == 3


@pytest.mark.parametrize("name", ["manifest.csv", "labels.csv", "labels.tsv", "anything.jsonl"])
def test_a_folder_with_one_table(place, name):
    fill(place, "images/1.png", "images/2.png")
    rows = [{"path": "images/1.png", "label": "a"}, {"path": "images/2.png", "label": "b"}]
    fill(place, name, content=rows_as(name, rows).encode())
    assert len(listed(open_source(place))[0]) == 2


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["manifest.csv", "labels.csv", "1.png"], "several tables: labels.csv, manifest.csv"),
        (
            ["manifest.csv", "cat/1.png", "dog/2.png"],
            r"both a table, manifest.csv, and folders.*\(cat, dog\).*/manifest.csv",
        ),
    ],
)
def test_a_folder_that_can_be_read_in_two_ways_is_refused(place, paths, message):
    with pytest.raises(UsageError, match=message):
        open_source(fill(place, *paths))


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("1.png,,", "no label"),
        (",cat,", "no path"),
        ("1.png,cat,sometimes", "unknown split 'sometimes'"),
        ("1.png,cat,,heavy", "weight is 'heavy'"),
        ("1.png,cat,,-1", "weight is '-1'"),
        ("1.png,cat,,nan", "weight is 'nan'"),
        ("1.png,cat,,inf", "weight is 'inf'"),
        ("1.png,cat,,1,more", "more values than columns"),
        ("1.png", "no label"),
        ("a\0b.png,cat", "characters that no name can have"),
        ("./2.png,dog", "a line above names 2.png already"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, line, detail):
    fill(str(tmp_path), "1.png", "2.png")
    source = table(str(tmp_path), f"path,label,split,weight\n2.png,dog,,\n{line}\n")
    candidates, problems = source.list()
    assert [candidate.path for candidate in candidates] == ["2.png"]
    assert [(problem.kind, problem.path) for problem in problems] == [(ProblemKind.BAD_ROW, "manifest.csv:3")]
    assert detail in problems[0].detail


def test_a_file_with_two_labels_is_used_for_neither(tmp_path):
    fill(str(tmp_path), "1.png", "2.png")
    candidates, problems = table(str(tmp_path), "path,label\n1.png,dog\n2.png,dog\n1.png,cat\n").list()
    assert [candidate.path for candidate in candidates] == ["2.png"]
    assert [(problem.kind, problem.path) for problem in problems] == [(ProblemKind.LABEL_CONFLICT, "1.png")]
    assert "also in cat: line 4" in problems[0].detail


@pytest.mark.parametrize(
    "names", [["stray.webp", "cat/1.png", "dog/1.png"], ["train/3.png", "train/cat/1.png", "train/dog/2.png"]]
)
def test_a_picture_in_no_class_is_named(tmp_path, names):
    fill(str(tmp_path), *names)
    candidates, problems = open_source(str(tmp_path)).list()
    assert [candidate.path for candidate in candidates] == names[1:]
    assert [(problem.kind, problem.path) for problem in problems] == [(ProblemKind.NO_CLASS, names[0])]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("not json", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"path": "1.png"}', "no label"),
        ('{"path": "1.png", "label": ["a", "b"]}', "expected a single value"),
        ('{"path": "1.png", "label": null}', "no label"),
        ('{"path": "\\ud800.png", "label": "a"}', "characters that no name can have"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path, line, detail):
    fill(str(tmp_path), "1.png")
    source = table(str(tmp_path), f'{{"path": "2.png", "label": "b"}}\n{line}\n', "a.jsonl")
    bad = [problem for problem in source.list()[1] if problem.kind == ProblemKind.BAD_ROW]
    assert [problem.path for problem in bad] == ["a.jsonl:2"]
    assert detail in bad[0].detail


def test_missing_and_outside_files(place):
    fill(place, "set/1.png", "secret.png")
    lines = [
        "1.png",
        "2.png",
        "no/3.png",
        "../secret.png",
        "/etc/passwd",
        "x/../../secret.png",
        "s3://bucket/a.png",
        "..",
    ]
    source = table(posixpath.join(place, "set"), "path,label\n" + "".join(f"{line},cat\n" for line in lines))
    candidates, problems = listed(source)
    assert [path for path, _, _ in candidates] == ["1.png"]
    assert problems == [
        (ProblemKind.BAD_ROW, "manifest.csv:7"),  # the same as in line 5
        *((ProblemKind.MISSING, path) for path in ("2.png", "no/3.png")),
        *((ProblemKind.OUTSIDE_LINK, path) for path in ("..", "../secret.png", "/etc/passwd", "s3:/bucket/a.png")),
    ]


def test_a_table_does_not_reach_outside_through_links(tmp_path):
    fill(str(tmp_path), "set/1.png", "out/secret.png")
    (tmp_path / "set" / "door").symlink_to("../out")
    (tmp_path / "set" / "file.png").symlink_to("../out/secret.png")
    source = table(str(tmp_path / "set"), "path,label\n1.png,a\ndoor/secret.png,b\nfile.png,b\n")
    assert listed(source) == (
        [("1.png", "a", None)],
        [(ProblemKind.OUTSIDE_LINK, "door/secret.png"), (ProblemKind.OUTSIDE_LINK, "file.png")],
    )


@pytest.mark.parametrize(
    ("text", "group", "message"),
    [
        ("id,label\n", None, r"no column for the path. Expected .*filename.* Its columns: id, label"),
        ("path,breed\n", None, "no column for the label. Expected .*class"),
        ("path,file,label\n", None, "several columns for the path: path, file"),
        ("path,label\n", "patient", "no column 'patient' for the group. Its columns: path, label"),
        ("", None, "Its columns: none"),
    ],
)
def test_a_table_without_its_columns_is_refused(tmp_path, text, group, message):
    fill(str(tmp_path), "manifest.csv", content=text.encode())
    with pytest.raises(UsageError, match=message):
        open_source(str(tmp_path / "manifest.csv"), group)


@pytest.mark.parametrize("content", [b"path,label\n\xff,a\n", b'path,label\n"1.png,a\n2.png,b\n'])
def test_what_is_no_table_is_damaged(tmp_path, content):
    with pytest.raises(DataDamaged, match=r"manifest\.csv"):
        table(str(tmp_path), content)


def test_only_tables_have_groups(tmp_path):
    fill(str(tmp_path), "cat/1.png", "dog/2.png")
    with pytest.raises(UsageError, match="'patient'.*only a table"):
        open_source(str(tmp_path), "patient")


names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/\r\n", exclude_categories=["Cc"]), min_size=1, max_size=9
)


@hypothesis.given(
    st.dictionaries(names.filter(lambda name: name == name.strip() and name[0] != "."), names, min_size=1)
)
@hypothesis.example({"a::b": "0", "::": "1"})
@hypothesis.settings(deadline=None)
def test_any_text_survives_a_table(tmp_path_factory, labels):
    hypothesis.assume(all(label.strip() for label in labels.values()))
    place = "memory://texts"
    for form in ("a.csv", "a.tsv", "a.jsonl"):
        text = rows_as(form, [{"path": f"x/{name}", "label": label} for name, label in labels.items()])
        source = table(place, text, form)
        fill(place, *(f"x/{name}" for name in labels), content=b"")
        candidates, problems = listed(source)
        assert problems == []
        assert {path: label for path, label, _ in candidates} == {
            f"x/{n}": label.strip() for n, label in labels.items()
        }


# Arrays

pictures = hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 3) | st.tuples(*[st.integers(1, 4)] * 4))


def idx(place, images, labels, part="train", packed=False):
    for kind, array in ((f"images-idx{images.ndim}", images), ("labels-idx1", labels)):
        content = to_idx(array.astype(np.uint8))
        name = f"{part}-{kind}-ubyte" + (".gz" if packed else "")
        fill(place, name, content=gzip.compress(content) if packed else content)


@hypothesis.given(images=pictures, packed=st.booleans())
@hypothesis.settings(deadline=None)
def test_pictures_survive_idx(images, packed):
    place = "memory://idx"
    fill(place, "x")
    fsspec.filesystem("memory").rm("/idx", recursive=True)
    idx(place, images, np.zeros(len(images)), packed=packed)
    source = open_source(place)
    found = check(source)
    assert list(found) == [f"train/{number:05d}" for number in range(len(images))]
    for image, expected in zip(found.values(), images, strict=True):
        np.testing.assert_array_equal(image, expected.squeeze(-1) if expected.shape[2:] == (1,) else expected)


def test_idx_splits_and_classes(place):
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("t10k", 3)):
        idx(place, random.integers(0, 256, (count, 5, 4)), np.arange(count) % 12, part, packed=True)
    candidates, problems = listed(open_source(place))
    assert problems == []
    assert candidates[0] == ("t10k/00000", "00", "test")
    assert candidates[-1] == ("train/00011", "11", "train")


def test_idx_without_labels_is_refused(tmp_path):
    fill(str(tmp_path), "train-images-idx3-ubyte", content=to_idx(np.zeros((1, 2, 2), np.uint8)))
    with pytest.raises(UsageError, match="without its labels. Expected train-labels-idx1-ubyte"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("images", "labels"),
    [(np.zeros((2, 3, 3)), np.zeros(3)), (np.zeros((2, 3, 3, 5)), np.zeros(2)), (np.zeros((2, 0, 3)), np.zeros(2))],
)
def test_idx_of_other_shapes_is_damaged(tmp_path, images, labels):
    idx(str(tmp_path), images, labels)
    with pytest.raises(DataDamaged):
        open_source(str(tmp_path))


def npz(place, name="a.npz", **arrays):
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    fill(place, name, content=content.getvalue())
    return posixpath.join(place, name)


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("keys", "part", "split"),
    [
        (("x_train", "y_train"), "train", "train"),
        (("val_images", "val_labels"), "val", "validation"),
        (("images", "labels"), "images", None),
    ],
)
def test_npz(place, keys, part, split):
    labels = np.array([[0], [1], [1], [0]])
    source = open_source(npz(place, **dict(zip(keys, (IMAGES, labels), strict=True)), class_names=np.array(["b", "a"])))
    candidates, _ = listed(source)
    assert candidates[1] == (f"{part}/00001", "a", split)
    np.testing.assert_array_equal(list(check(source).values()), IMAGES)


def test_npz_with_texts_as_labels(tmp_path):
    source = open_source(npz(str(tmp_path), images=IMAGES, labels=np.array(["dog", "cat", "cat", "eel"])))
    assert [label for _, label, _ in listed(source)[0]] == ["dog", "cat", "cat", "eel"]


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"images": IMAGES}, UsageError, "x_train and y_train.*It holds: images"),
        ({"images": IMAGES, "labels": np.arange(3)}, DataDamaged, "4 pictures and labels"),
        ({"images": IMAGES / 255, "labels": np.arange(4)}, DataDamaged, "must be uint8.*float64"),
        ({"images": IMAGES, "labels": np.arange(4) - 1}, DataDamaged, "from -1 to 2"),
        ({"images": IMAGES, "labels": np.arange(4) / 2}, DataDamaged, "whole numbers.*float64"),
        ({"images": IMAGES, "labels": np.arange(4), "class_names": np.array(["a"])}, DataDamaged, "from 0 to 0"),
        ({"images": IMAGES, "labels": np.array([{}] * 4)}, UsageError, "Python objects"),
    ],
)
def test_npz_of_another_content_is_refused(tmp_path, arrays, error, message):
    with pytest.raises(error, match=message):
        open_source(npz(str(tmp_path), **arrays))


@pytest.mark.parametrize("content", [b"", b"nothing", PNG])
def test_npz_that_is_none_is_damaged(tmp_path, content):
    with pytest.raises(DataDamaged, match=r"a\.npz"):
        open_source(fill(str(tmp_path), "a.npz", content=content) + "/a.npz")


@hypothesis.given(position=st.integers(0, 10**6), value=st.integers(1, 255))
@hypothesis.settings(max_examples=40, deadline=None)
def test_a_damaged_npz_is_told_or_read(tmp_path_factory, position, value):
    folder = tmp_path_factory.mktemp("npz")
    path = npz(str(folder), images=IMAGES, labels=np.arange(4))
    content = bytearray(Path(path).read_bytes())
    content[position % len(content)] ^= value
    Path(path).write_bytes(content)
    try:
        check(open_source(path))
    except PipelineError as error:
        assert "a.npz" in str(error)  # noqa: PT017 as either may be


# TFRecord


def example(**features):
    made = {}
    for name, value in features.items():
        kind = "bytes_list" if isinstance(value, bytes) else "int64_list" if isinstance(value, int) else "float_list"
        values = tf.train.Feature()
        getattr(values, kind).value.append(value)
        made[name.replace("__", "/")] = values
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def shard(path, *records, options=None):
    path.parent.mkdir(exist_ok=True, parents=True)
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)
    return path


def test_tfrecord_shards_need_no_suffix_if_they_are_numbered(tmp_path):
    shard(tmp_path / "train-00000-of-00001", example(image=PNG, label=1))
    shard(tmp_path / "test-00000-of-00001", example(image=PNG, label=1))
    for location in (tmp_path, tmp_path / "t*"):
        candidates, problems = open_source(str(location)).list()
        assert ([candidate.split for candidate in candidates], problems) == (["test", "train"], [])


def test_tfrecord_shards(tmp_path):
    one = [
        example(image__encoded=PNG, image__class__label=n, image__class__text=name)
        for n, name in enumerate((b"a", b"b"))
    ]
    shard(tmp_path / "train-00000-of-00002.tfrecord", *one)
    shard(tmp_path / "train-00001-of-00002.tfrecord", one[1])
    shard(tmp_path / "mnist-test.tfrecord-00000-of-00001", example(image=PNG, label=11), example(image=PNG, label=2))
    source = open_source(str(tmp_path))
    candidates, problems = listed(source)
    assert problems == []
    assert [(label, split) for _, label, split in candidates] == [
        ("11", "test"), ("02", "test"), ("a", "train"), ("b", "train"), ("b", "train")
    ]  # fmt: skip
    assert {source.read(path) for path, _, _ in candidates} == {PNG}
    only = open_source(str(tmp_path / "train-*.tfrecord"))
    assert [label for _, label, _ in listed(only)[0]] == ["a", "b", "b"]
    assert len(listed(open_source(str(tmp_path / "train-00001-of-00002.tfrecord")))[0]) == 1


@hypothesis.given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=8))
@hypothesis.settings(max_examples=25, deadline=None)
def test_each_record_is_read_from_its_place(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    shard(path, *(example(image=content, label=number) for number, content in enumerate(contents)))
    source = open_source(str(path))
    candidates, _ = source.list()
    assert [source.read(candidate.path) for candidate in candidates] == contents
    assert [int(candidate.label) for candidate in candidates] == list(range(len(contents)))


def test_a_record_without_picture_or_label_is_a_problem(tmp_path):
    good = example(image=PNG, label=0)
    others = [example(label=1), example(image=PNG), example(image=0.5, label=1), example(image=PNG, label=-1), b"\xff"]
    source = open_source(str(shard(tmp_path / "a.tfrecord", good, *others)))
    candidates, problems = listed(source)
    assert len(candidates) == 1
    assert [kind for kind, _ in problems] == [ProblemKind.BAD_ROW] * len(others)


def test_shards_with_other_features_are_refused(tmp_path):
    path = shard(tmp_path / "a.tfrecord", example(jpeg=PNG, label=1))
    with pytest.raises(UsageError, match="features: jpeg, label. Expected image/encoded or image"):
        open_source(str(path)).list()


@pytest.mark.parametrize("damage", ["data", "length", "end"])
def test_a_damaged_shard_is_named_with_its_byte(tmp_path, damage):
    records = [example(image=PNG, label=n) for n in range(3)]
    path = shard(tmp_path / "a.tfrecord", *records)
    content = bytearray(path.read_bytes())
    second = 16 + len(records[0])
    if damage == "end":
        content = content[:-3]
    else:
        content[second + (20 if damage == "data" else 1)] ^= 1
    path.write_bytes(content)
    begin = second if damage != "end" else second + 16 + len(records[1])
    with pytest.raises(DataDamaged, match=rf"a\.tfrecord is damaged from byte {begin} on"):
        open_source(str(path)).list()


def test_a_compressed_shard_is_refused(tmp_path):
    path = shard(tmp_path / "a.tfrecord", example(image=PNG, label=1), options="GZIP")
    with pytest.raises(UsageError, match=r"a\.tfrecord is compressed.*gunzip"):
        open_source(str(path)).list()


def test_a_shard_that_changed_meanwhile_is_an_os_error(tmp_path):
    path = shard(tmp_path / "a.tfrecord", example(image=PNG, label=1), example(image=PNG, label=2))
    source = open_source(str(path))
    last = source.list()[0][-1].path
    for content in (b"", path.read_bytes()[:-30], struct.pack("<Q", 2**62) * 99):
        path.write_bytes(content)
        with pytest.raises(OSError, match="changed"):
            source.read(last)


# Names and the rest


def test_emoji_from_a_prepared_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_TF_CACHE", str(tmp_path))
    fill(str(tmp_path), "emoji/2/flags/1.png", "emoji/2/food/2.png")
    source = open_source("emoji")
    assert (source.name, len(source.list()[0])) == ("emoji", 2)


def test_without_apt_emoji_are_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_TF_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataUnavailable, match="no apt-get.*fonts-noto-color-emoji"):
        open_source("emoji")
    assert not list(tmp_path.rglob("*.png"))


EMOJI_TEST = """
# group: People & Body
1F44B ; fully-qualified # hand
# group: Flags
1F1E6 1F1E8 ; fully-qualified # flag
263A FE0F     ; fully-qualified  # as if a flag
263A          ; unqualified
"""


def test_groups_of_emoji():
    assert list(emoji._emoji(EMOJI_TEST)) == [("flags", (0x1F1E6, 0x1F1E8)), ("flags", (0x263A,))]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("nothing/here", "no file or folder 'nothing/here'.*birds/.*fashion_mnist|fashion_mnist.*birds/"),
        ("keras:cifar11", "Did you mean 'cifar10'"),
        ("nosuch://bucket/x", "nosuch"),
        ("lakefs://bucket/x", "pip install lakefs-spec"),
        ("gs://bucket/x", "pip install gcsfs"),
    ],
)
def test_a_location_that_cannot_be_is_refused(location, message):
    with pytest.raises(UsageError, match=message):
        open_source(location)


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"x\.zip is of no kind"):
        open_source(fill(str(tmp_path), "x.zip") + "/x.zip")


def test_tensorflow_datasets_are_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UsageError, match=r"pip install '.\[tfds\]'"):
        open_source("tfds:mnist")


def test_each_source_is_described():
    lines = describe_sources().splitlines()
    assert len(lines) == len(SOURCES)
    assert all(len(line.split("  ", 1)) == 2 for line in lines)


def test_names_of_data_sets_can_be_folders(tmp_path):
    for folder, name in (("My birds!", "My-birds"), ("图片", "pictures"), (".hidden", "hidden")):
        fill(str(tmp_path / folder), "cat/1.png", "dog/2.png")
        assert open_source(str(tmp_path / folder)).name == name


def test_benchmarks_keep_their_duplicates():
    assert frozenset({"duplicate", "near_duplicate", "label_conflict"}) == PUBLISHED
