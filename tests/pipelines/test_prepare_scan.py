from __future__ import annotations

import io
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import faults
import folder_source
import numpy as np
import pytest
from folder_source import FolderSource
from PIL import Image
from rich.console import Console
from support import until

from pipelines.prepare import Settings, prepare
from pipelines.prepare.inspection import Record, inspect
from pipelines.prepare.memory import Memory
from pipelines.prepare.observer import SilentObserver, showing
from pipelines.prepare.scan import in_order
from pipelines.problems import ProblemKind

PICTURES = 250


def make_pictures(folder: Path, count: int) -> Path:
    numbers = np.random.default_rng(5)
    for index in range(count):
        path = folder / ("ant", "bee")[index % 2] / f"{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        clouds = Image.fromarray(numbers.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        clouds.resize((160, 120), Image.Resampling.BICUBIC).save(path)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def start(pictures: Path, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "folder_source", str(pictures), str(folder)]
    return subprocess.Popen(command, cwd=Path(folder_source.__file__).parent, stderr=subprocess.PIPE, text=True)


class Works(SilentObserver):
    def __init__(self):
        self.left = {}

    def begin(self, work, files, done=0):
        self.left[work] = files - done


def test_killed_while_scanning_writing_and_at_the_end_it_becomes_the_folder_of_an_unbroken_run(tmp_path):
    pictures, folder = make_pictures(tmp_path / "pictures", PICTURES), tmp_path / "killed" / "set"
    faults.plant(pictures)
    log = folder / ".work" / "log.jsonl"
    chance = random.Random(11)
    lines = chance.randrange(1, PICTURES // 2)
    shards = chance.randrange(1, 6)
    moments = [
        lambda: log.exists() and log.read_bytes().count(b"\n") > lines,
        lambda: len(list((folder / "shards").glob("*"))) > shards,
        lambda: (folder / ".work" / "scan.parquet").exists(),
    ]
    scanned = 0
    for moment in moments:
        process = start(pictures, folder)
        until(lambda: moment() or process.poll() is not None)  # noqa: B023
        process.kill()
        process.communicate()
        if log.exists():
            assert log.read_bytes().count(b"\n") >= scanned
            scanned = log.read_bytes().count(b"\n")
    settings = Settings(shards=4, on_error="skip")
    for to in (folder, tmp_path / "unbroken" / "set"):
        prepare(FolderSource(pictures), to, settings, SilentObserver())
    assert content(tmp_path / "killed") == content(tmp_path / "unbroken")


def test_ctrl_c_ends_with_130_and_the_next_run_goes_on(tmp_path):
    pictures, folder = make_pictures(tmp_path / "pictures", PICTURES), tmp_path / "set"
    process = start(pictures, folder)
    until(lambda: (folder / ".work" / "log.jsonl").exists())
    process.send_signal(signal.SIGINT)
    assert "goes on from what is there" in process.communicate()[1]
    assert process.returncode == 130
    assert not (folder / "manifest.parquet").exists()
    observer = Works()
    prepare(FolderSource(pictures), folder, Settings(shards=4, on_error="skip"), observer)
    assert observer.left["Looking into pictures"] < PICTURES


def test_a_scan_goes_on_after_a_torn_line(tmp_path):
    memory = Memory(tmp_path, {"root": "a"})
    memory.append([Record("1.png", "s", sha256="x", thumbnail=b"\0\xff"), Record("2.png", "s")])
    log = tmp_path / ".work" / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    again = Memory(tmp_path, {"root": "a"})
    assert again.unfinished() == {"1.png": Record("1.png", "s", sha256="x", thumbnail=b"\0\xff")}
    again.append([Record("3.png", "s")])
    assert list(Memory(tmp_path, {"root": "a"}).unfinished()) == ["1.png", "3.png"]
    assert Memory(tmp_path, {"root": "b"}).unfinished() == {}


def test_a_changed_file_is_looked_into_again_and_others_are_not(tmp_path):
    source = FolderSource(make_pictures(tmp_path / "pictures", 8))
    settings = Settings(on_error="skip")
    (tmp_path / "pictures" / "ant" / "bad.png").write_bytes(b"")
    prepare(source, tmp_path / "set", settings, SilentObserver())
    shutil.copy(tmp_path / "pictures" / "bee" / "0001.jpg", tmp_path / "pictures" / "bee" / "again.jpg")
    shutil.copy(tmp_path / "pictures" / "bee" / "0001.jpg", tmp_path / "pictures" / "ant" / "bad.png")
    observer = Works()
    prepare(source, tmp_path / "set", settings, observer)
    assert observer.left["Looking into pictures"] == 2


@pytest.mark.parametrize(
    ("content", "kind", "detail"),
    [
        (b"", ProblemKind.EMPTY_FILE, "0 bytes"),
        (b"\x89PNG\r\n\x1a\n", ProblemKind.TRUNCATED, "the end of the PNG is missing after 8 bytes"),
        (b"BMW", ProblemKind.NOT_A_PICTURE, "begins with b'BMW'"),
        (b"P5 2 2 255\n1234", ProblemKind.UNSUPPORTED, "a PPM picture"),
        (b"\xff\xd8\xff" + bytes(50) + b"\xff\xd9", ProblemKind.UNDECODABLE, "the JPEG is damaged"),
    ],
)
def test_a_fault_is_told_by_the_content(content, kind, detail):
    record = inspect("a.png", "", lambda path: content, 10**6)
    assert record.kind == kind
    assert detail in record.detail


def test_a_picture_of_as_many_pixels_as_allowed_is_decoded():
    stream = io.BytesIO()
    Image.new("L", (40, 30)).save(stream, "PNG")
    assert inspect("a.png", "", lambda path: stream.getvalue(), 1200).is_decoded
    refused = inspect("a.png", "", lambda path: stream.getvalue(), 1199)
    assert (refused.kind, refused.detail) == (ProblemKind.BOMB, "40 x 30 pixels, more than 1,199")


def test_a_jpeg_followed_by_a_film_or_with_a_thumbnail_is_whole_and_cut_it_is_not():
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG")
    content, thumbnail = (
        stream.getvalue(),
        b"\xff\xe1" + (2 + 40).to_bytes(2, "big") + b"\xff\xda" + bytes(36) + b"\xff\xd9",
    )
    with_thumbnail = content[:2] + thumbnail + content[2:]
    for whole in (content, content + b"\xff\xda film", with_thumbnail):
        assert inspect("a.jpg", "", lambda path, whole=whole: whole, 10**6).is_decoded
        cut = whole[: with_thumbnail.rfind(b"\xff\xd9") - len(thumbnail) - 9]
        assert inspect("a.jpg", "", lambda path, cut=cut: cut, 10**6).kind == ProblemKind.TRUNCATED


def test_work_is_done_in_order_and_only_a_little_ahead():
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        return number * number

    results = in_order(work, range(1000), lambda: False)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(begun) < 100
    assert list(results) == [number * number for number in range(3, 1000)]


def test_asked_to_stop_work_ends_with_an_interrupt():
    asked = threading.Event()
    results = in_order(lambda number: number, range(1000), asked.is_set)
    next(results)
    asked.set()
    with pytest.raises(KeyboardInterrupt):
        list(results)


def test_progress_is_a_line_a_tenth_without_a_terminal():
    text = io.StringIO()
    with showing(Console(file=text, width=40)) as observer:
        observer.begin("Looking into pictures", 40, 20)
        for _ in range(20):
            observer.advance(problems=1)
    lines = text.getvalue().splitlines()
    assert lines[0] == "Looking into pictures: 40 files, 20 of them in an earlier run"
    assert lines[1] == "  24 of 40, 4 problems"
    assert len(lines) == 5


def test_progress_is_a_bar_on_a_terminal():
    text = io.StringIO()
    with showing(Console(file=text, width=120, force_terminal=True)) as observer:
        observer.begin("Looking into pictures", 40)
        for _ in range(20):
            observer.advance(problems=1)
    assert "20/40" in text.getvalue()
    assert "20 problems" in text.getvalue()
