from __future__ import annotations

import pytest

from pipelines import files
from pipelines.errors import RunBusy


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a" / "x.txt"
    files.write(path, "one")
    with pytest.raises(ZeroDivisionError), files.file_aside(path) as aside:
        aside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.txt"]


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "1"
    with pytest.raises(ZeroDivisionError), files.folder_aside(path) as aside:
        (aside / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with files.folder_aside(path) as aside:
        (aside / "whole").touch()
        assert not path.exists()
    assert (path / "whole").exists()


def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "old").touch()
    with pytest.raises(FileExistsError, match="already exists"), files.folder_aside(tmp_path / "1"):
        pass
    assert [entry.name for entry in tmp_path.rglob("*")] == ["1", "old"]


def test_a_locked_folder_is_busy_and_leftovers_are_cleared(tmp_path):
    (tmp_path / f"{files.ASIDE}dead").mkdir()
    with files.lock(tmp_path):
        assert not list(tmp_path.glob(f"{files.ASIDE}*"))
        with pytest.raises(RunBusy, match="Another process"), files.lock(tmp_path):
            pass
    with files.lock(tmp_path):
        pass
