from __future__ import annotations

import os
import time

from serving.server import storage


def test_versions_are_names_that_are_integers(tmp_path):
    names = [
        "1",
        "00000123",
        "7",
        "20170111173521",
        "-5",
        " 8 ",
        "v2",
        "2.denied",
        "tmp",
        "0.1",
        "1_000",
        ".aside-4",
        str(2**63),
    ]
    for name in names:
        (tmp_path / name).mkdir()
    found = storage.scan(tmp_path)
    assert sorted(found.versions) == [-5, 1, 7, 8, 123, 20170111173521]
    assert found.versions[123].name == "00000123"
    assert found.warnings == ()


def test_of_two_names_for_one_number_the_lexicographically_last_wins(tmp_path):
    for name in ("7", "07", "007"):
        (tmp_path / name).mkdir()
    found = storage.scan(tmp_path)
    assert {number: path.name for number, path in found.versions.items()} == {7: "7"}
    assert len(found.warnings) == 2
    assert "07" in found.warnings[1]


def test_entries_are_not_looked_into(tmp_path):
    (tmp_path / "3").touch()
    assert list(storage.scan(tmp_path).versions) == [3]


def test_a_fingerprint_changes_with_any_file(tmp_path):
    (tmp_path / "variables").mkdir()
    file = tmp_path / "variables" / "data"
    file.write_text("one")
    before = storage.fingerprint(tmp_path)
    assert storage.fingerprint(tmp_path) == before
    file.write_text("two")
    assert storage.fingerprint(tmp_path) != before


def test_a_copy_that_keeps_its_times_is_not_settled(tmp_path):
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (0, 0))
    assert not storage.is_settled(tmp_path)


def test_settling_goes_by_the_clock_and_is_not_fooled_by_it(tmp_path, monkeypatch):
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside" / "file").touch()
    now = time.time()
    monkeypatch.setattr(storage.time, "time", lambda: now + storage.SETTLE_SECONDS + 1)
    assert storage.is_settled((tmp_path / "aside").rename(tmp_path / "1"))  # the rename is no change of what is in it
    monkeypatch.setattr(storage.time, "time", lambda: now - 3600)
    assert not storage.is_settled(tmp_path / "1")


def test_an_empty_folder_is_not_settled(tmp_path):
    assert not storage.is_settled(tmp_path)
