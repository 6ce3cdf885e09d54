from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import faults
import numpy as np
import pytest
import tensorflow as tf
from folder_source import FolderSource
from PIL import Image

from pipelines import manifest, problems, transforms
from pipelines.errors import DataDamaged, RunBusy, TooManyProblems, UsageError
from pipelines.files import lock
from pipelines.prepare import Settings, prepare, rehearse
from pipelines.prepare.observer import SilentObserver
from pipelines.prepare.shards import FRAME_BYTES
from pipelines.problems import ProblemKind

SKIP = Settings(on_error="skip")


class Notes(SilentObserver):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def picture(seed: int, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    """Colourful clouds, unlike those of any other seed."""
    values = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).convert(mode)


def make_pictures(folder: Path, each: int = 14) -> Path:
    formats = ("jpg", "png", "jpeg", "png")
    for number, name in enumerate(("ant", "bee", "<cat> [é]")):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            seed = 1000 * number + index
            picture(seed, (40 + index, 40)).save(folder / name / f"{index:03d}.{formats[index % 4]}")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Not to be changed."""
    return make_pictures(tmp_path_factory.mktemp("source") / "pictures")


@pytest.fixture
def own(pictures, tmp_path) -> Path:
    return Path(shutil.copytree(pictures, tmp_path / "own"))


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def states(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def rows(folder: Path) -> list[dict]:
    return manifest.read(folder)[0].to_pylist()


def named(folder: Path) -> set[tuple[str, str]]:
    found = problems.from_csv((folder / "problems.csv").read_text())
    return {(problem.kind, problem.path) for problem in found}


def test_every_picture_is_packed_as_it_is(pictures, tmp_path):
    result = prepare(FolderSource(pictures), tmp_path / "set", Settings(), SilentObserver())
    assert result.added == sum(result.splits.values()) == 42
    data = manifest.load(tmp_path / "set")
    assert data.class_names == sorted(["ant", "bee", "<cat> [é]"])
    by_id = {row["id"]: row for row in rows(tmp_path / "set")}
    for split in data.splits.values():
        read = split.storage.reader()
        for number, (name, label) in enumerate(zip(split.ids, split.labels, strict=True)):
            path = by_id[name]["path"]
            assert read(tf.constant(number, tf.int64)).numpy() == (pictures / path).read_bytes()
            assert data.class_names[label] == path.split("/")[0]
            with Image.open(pictures / path) as image:
                assert tuple(split.sizes[number]) == (image.height, image.width)


def test_shards_are_standard_examples_of_even_size_in_order_of_ids(pictures, tmp_path):
    prepare(FolderSource(pictures), tmp_path / "set", Settings(shards=3), SilentObserver())
    table = {(row["shard"], row["offset"]): row for row in rows(tmp_path / "set")}
    shards = sorted((tmp_path / "set" / "shards").glob("train-*.tfrecord"))
    assert [path.name for path in shards] == [f"train-0000{number}.tfrecord" for number in range(3)]
    ids = []
    for path in shards:
        offset = 0
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            example, row = tf.train.Example.FromString(record).features.feature, table[path.name, offset]
            assert example["image/id"].bytes_list.value[0].decode() == row["id"]
            assert example["image/class/text"].bytes_list.value[0].decode() == row["label"]
            assert example["image/filename"].bytes_list.value[0].decode() == row["path"]
            assert example["image/width"].int64_list.value[0] == row["width"]
            ids.append(row["id"])
            offset += FRAME_BYTES + len(record)
    assert ids == sorted(ids)
    assert max(p.stat().st_size for p in shards) < 2 * min(p.stat().st_size for p in shards)


def test_every_planted_fault_is_named_and_left_out_and_all_else_is_in(own, tmp_path):
    good = {path.relative_to(own).as_posix() for path in own.rglob("*.*")}
    planted = faults.plant(own)
    assert len(planted) >= 12
    prepare(FolderSource(own), tmp_path / "set", SKIP, SilentObserver())
    expected = {(kind, path) for kind, paths in planted.items() for path in paths}
    found = named(tmp_path / "set")
    assert found == expected
    assert {row["path"] for row in rows(tmp_path / "set")} == good - {path for _, path in expected}
    packed = b"".join(path.read_bytes() for path in (tmp_path / "set" / "shards").iterdir())
    bad = [own / path for path in {path for _, path in expected} - good]
    contents = [path.read_bytes() for path in bad if path.is_file() and not path.is_symlink()]
    duplicate = planted[ProblemKind.DUPLICATE][0]
    assert [c for c in contents if c and c in packed] == [(own / duplicate).read_bytes()]


def test_too_many_faults_publish_nothing_but_their_list(own, tmp_path):
    faults.plant(own)
    with pytest.raises(TooManyProblems, match=r"26 of 67 files.* 6 truncated.*--on-error skip"):
        prepare(FolderSource(own), tmp_path / "set", Settings(), SilentObserver())
    assert (ProblemKind.EMPTY_CLASS, "fault_class") in named(tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.parquet").exists()
    assert not (tmp_path / "set" / "shards").exists()
    result = prepare(FolderSource(own), tmp_path / "set", SKIP, SilentObserver())
    assert result.added == len(rows(tmp_path / "set"))


def test_faults_up_to_the_allowed_share_do_not_stop(own, tmp_path):
    (own / "ant" / "empty.png").write_bytes(b"")
    with pytest.raises(TooManyProblems):
        prepare(FolderSource(own), tmp_path / "a", Settings(max_errors=0.99 / 43), SilentObserver())
    assert prepare(FolderSource(own), tmp_path / "b", Settings(max_errors=1 / 43), SilentObserver()).added == 42


@pytest.mark.parametrize("place", [".", "sets/new"])
def test_a_data_set_among_its_pictures_is_refused(own, place):
    before = sorted(own.rglob("*"))
    with pytest.raises(UsageError, match="must not lie in the folder of its pictures"):
        prepare(FolderSource(own), own / place, Settings(), SilentObserver())
    assert sorted(own.rglob("*")) == before


def test_the_source_is_never_changed(own, tmp_path):
    faults.plant(own)
    before = states(own)
    prepare(FolderSource(own), tmp_path / "set", SKIP, SilentObserver())
    assert states(own) == before


def test_the_same_pictures_give_equal_folders(pictures, tmp_path):
    for place in ("a", "b"):
        prepare(FolderSource(pictures), tmp_path / place / "set", Settings(), SilentObserver())
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_all_but_the_memory_is_equal_wherever_the_pictures_lie(pictures, own, tmp_path):
    (own / "ant" / "000.jpg").touch()
    prepare(FolderSource(pictures), tmp_path / "a" / "set", Settings(), SilentObserver())
    prepare(FolderSource(own), tmp_path / "b" / "set", Settings(), SilentObserver())
    for place in ("a", "b"):
        shutil.rmtree(tmp_path / place / "set" / ".work")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_again_there_is_nothing_to_add_and_nothing_is_rewritten(own, tmp_path):
    faults.plant(own)
    for stratify in (False, True):
        folder, settings = tmp_path / f"set{stratify}", Settings(on_error="skip", stratify=stratify)
        prepare(FolderSource(own), folder, settings, SilentObserver())
        before, notes = states(folder), Notes()
        again = prepare(FolderSource(own), folder, settings, notes)
        assert again.added == 0
        assert notes.lines == [f"Nothing to add to {folder}"]
        assert states(folder) == before


def test_new_pictures_are_added_and_nothing_that_was_there_moves(own, tmp_path):
    source, folder = FolderSource(own), tmp_path / "set"
    prepare(source, folder, Settings(), SilentObserver())
    before, shards = rows(folder), content(folder / "shards")
    (own / "aardvark").mkdir()
    for seed in range(30):
        picture(90_000 + seed).save(own / "aardvark" / f"{seed}.png")
    result = prepare(source, folder, Settings(), SilentObserver())
    after = rows(folder)
    assert result.added == 30
    assert after[: len(before)] == before
    assert shards.items() <= content(folder / "shards").items()
    assert (folder / "shards" / "train-00001.tfrecord").exists()
    data = manifest.load(folder)
    assert data.class_names == [*sorted(["ant", "bee", "<cat> [é]"]), "aardvark"]
    assert (folder / "classes.txt").read_text().split("\n")[3] == "aardvark"
    read = data.splits["train"].storage.reader()
    paths = [row["path"] for row in after if row["split"] == "train"]
    assert read(tf.constant(len(paths) - 1, tf.int64)).numpy() == (own / paths[-1]).read_bytes()


def test_pictures_that_are_gone_or_changed_stay_as_they_were(own, tmp_path):
    source, folder = FolderSource(own), tmp_path / "set"
    prepare(source, folder, Settings(), SilentObserver())
    before, notes = states(folder / "shards"), Notes()
    (own / "ant" / "001.png").unlink()
    picture(77).save(own / "bee" / "003.png")
    assert prepare(source, folder, Settings(), notes).added == 0
    assert "ant/001.png) gone" in notes.lines[0]
    assert "bee/003.png) changed" in notes.lines[1]
    assert states(folder / "shards") == before


def test_another_source_or_other_settings_are_refused(pictures, own, tmp_path):
    folder = tmp_path / "set"
    prepare(FolderSource(pictures), folder, Settings(), SilentObserver())
    before = states(folder)
    with pytest.raises(UsageError, match=r"another source \(root: .*own\)"):
        prepare(FolderSource(own), folder, Settings(), SilentObserver())
    with pytest.raises(UsageError, match=r"stratify: False, now True"):
        prepare(FolderSource(pictures), folder, Settings(stratify=True), SilentObserver())
    with pytest.raises(UsageError, match="max_pixels"):
        prepare(FolderSource(pictures), folder, Settings(max_pixels=10**6), SilentObserver())
    assert states(folder) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shares": {"train": 0.8}}, "shares of splits must be values from 0 that are 1 together"),
        ({"shares": {"train": 0.5, "dev": 0.5}}, "must be splits among train, validation, test"),
        ({"keep": frozenset({ProblemKind.TRUNCATED})}, "keep must be kinds among duplicate"),
        ({"max_errors": 1.5}, "max_errors must be a share"),
        ({"max_pixels": 0}, "max_pixels must be 1 or more"),
        ({"shards": 0}, "shards must be 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Settings(**values)


def test_a_folder_is_prepared_by_one_process_at_a_time(pictures, tmp_path):
    with lock(tmp_path / "set"), pytest.raises(RunBusy):
        prepare(FolderSource(pictures), tmp_path / "set", Settings(), SilentObserver())


def test_one_class_or_no_picture_is_no_data_set(own, tmp_path):
    for path in [*(own / "bee").iterdir(), *(own / "<cat> [é]").iterdir()]:
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="are of class 'ant'. Expected two classes"):
        prepare(FolderSource(own), tmp_path / "set", Settings(), SilentObserver())
    for path in (own / "ant").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="no usable picture.*42 empty_file"):
        prepare(FolderSource(own), tmp_path / "set", SKIP, SilentObserver())


def test_pictures_may_stay_where_they_are(pictures, tmp_path):
    prepare(FolderSource(pictures), tmp_path / "set", Settings(sharded=False), SilentObserver())
    assert not (tmp_path / "set" / "shards").exists()
    split = manifest.load(tmp_path / "set").splits["train"]
    first = next(row for row in rows(tmp_path / "set") if row["id"] == split.ids[0])
    assert split.storage.reader()(tf.constant(0, tf.int64)).numpy() == (pictures / first["path"]).read_bytes()


def test_a_rehearsal_tells_the_outcome_and_writes_nothing(pictures, tmp_path):
    rehearsed = rehearse(FolderSource(pictures), tmp_path / "set", Settings(), SilentObserver())
    assert not (tmp_path / "set").exists()
    assert rehearsed == prepare(FolderSource(pictures), tmp_path / "set", Settings(), SilentObserver())


def test_a_file_that_changes_meanwhile_stops_and_the_next_run_takes_it_as_it_is(own, tmp_path):
    class Changing(FolderSource):
        def list(self):
            """With a stamp that tells nothing, as of arrays."""
            candidates, listed = super().list()
            return [type(c)(c.path, c.label) for c in candidates], listed

        def read(self, path):
            if path == "ant/003.png":
                self.reads = getattr(self, "reads", 0) + 1
                return encoded(500 + min(self.reads, 2))
            return super().read(path)

    source = Changing(own)
    with pytest.raises(DataDamaged, match=r"ant/003.png has changed.*again"):
        prepare(source, tmp_path / "set", Settings(), SilentObserver())
    assert not (tmp_path / "set" / "manifest.parquet").exists()
    assert prepare(source, tmp_path / "set", Settings(), SilentObserver()).added == 42


def encoded(seed: int) -> bytes:
    stream = io.BytesIO()
    picture(seed).save(stream, "PNG")
    return stream.getvalue()


def test_a_benchmark_keeps_its_copies_under_ids_of_their_own(own, tmp_path):
    shutil.copy(own / "ant" / "000.jpg", own / "ant" / "copy.jpg")
    shutil.copy(own / "ant" / "000.jpg", own / "bee" / "copy.jpg")
    kept = frozenset({ProblemKind.DUPLICATE, ProblemKind.LABEL_CONFLICT, ProblemKind.NEAR_DUPLICATE})
    source = FolderSource(own, kept=kept)
    result = prepare(source, tmp_path / "set", Settings(max_errors=0), SilentObserver())
    assert result.added == 44
    assert result.problems == {ProblemKind.LABEL_CONFLICT: 3}
    ids = [row["id"] for row in rows(tmp_path / "set")]
    assert len(set(ids)) == 44
    assert sorted(name[16:] for name in ids if len(name) > 16) == ["-2", "-3"]
    before = states(tmp_path / "set")
    assert prepare(source, tmp_path / "set", Settings(max_errors=0), SilentObserver()).added == 0
    assert states(tmp_path / "set") == before


def test_statistics_are_those_of_all_pixels(pictures, tmp_path):
    prepare(FolderSource(pictures), tmp_path / "set", Settings(), SilentObserver())
    written = json.loads((tmp_path / "set" / "statistics.json").read_text())
    training = [row["path"] for row in rows(tmp_path / "set") if row["split"] == "train"]
    decode = transforms.decode(3)
    decoded = [decode(tf.constant((pictures / path).read_bytes())).numpy().reshape(-1, 3) for path in training]
    pixels = np.concatenate(decoded) / 255
    np.testing.assert_allclose(written["mean"], pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(written["std"], pixels.std(0), rtol=1e-9)
    assert written["pictures"] == 42
    assert sum(sum(counts.values()) for counts in written["classes"].values()) == 42
    assert written["formats"] == {"JPEG": 21, "PNG": 21}
    assert written["sizes"]["width"] == {"min": 40, "median": 46.5, "max": 53}
    assert written["sizes"]["histogram"] == [[32, 64, 42]]
    assert written["bytes"] == sum(path.stat().st_size for path in pictures.rglob("*.*"))


def test_grey_pictures_have_one_mean(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "grey" / name).mkdir(parents=True)
        for seed in range(8):
            picture(seed + 100 * (name == "b"), mode="L").save(tmp_path / "grey" / name / f"{seed}.png")
    prepare(FolderSource(tmp_path / "grey"), tmp_path / "set", Settings(), SilentObserver())
    assert len(json.loads((tmp_path / "set" / "statistics.json").read_text())["mean"]) == 1
    assert manifest.load(tmp_path / "set").image_shape == (40, 48, 1)


def test_splits_of_the_source_are_kept_and_one_of_a_single_class_is_told(own, tmp_path):
    arranged = tmp_path / "arranged"
    for split, name in (("train", "ant"), ("train", "bee"), ("test", "<cat> [é]")):
        shutil.copytree(own / name, arranged / split / name)
    prepare(FolderSource(arranged), tmp_path / "set", Settings(), SilentObserver())
    assert all(row["path"].startswith(row["split"] + "/") for row in rows(tmp_path / "set"))
    assert named(tmp_path / "set") == {(ProblemKind.SINGLE_CLASS, "test")}


def test_a_group_is_in_one_split_also_when_more_of_it_comes(own, tmp_path):
    paths = sorted(path.relative_to(own).as_posix() for path in own.rglob("*.*"))
    groups = {path: f"patient {number % 9}" for number, path in enumerate(paths)}
    later = own.parent / "later"
    for path in paths[::2]:
        (later / path).parent.mkdir(parents=True, exist_ok=True)
        (own / path).rename(later / path)
    for _ in range(2):
        prepare(FolderSource(own, groups=groups), tmp_path / "set", Settings(), SilentObserver())
        for path in later.rglob("*.*"):
            path.rename(own / path.relative_to(later))
    table = rows(tmp_path / "set")
    assert len(table) == 42
    assert len({(row["group"], row["split"]) for row in table}) == len({row["group"] for row in table}) == 9
