"""Pictures in a folder of class folders as a source, and a command that prepares them: python folder_source.py FROM TO."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.problems import Problem
from pipelines.sources.base import Candidate


@dataclass
class FolderSource:
    folder: Path
    name: str = "pictures"
    kept: frozenset[str] = frozenset()
    class_names: tuple[str, ...] = ()
    has_splits: bool = False
    """Whether FOLDER/SPLIT/CLASS/ instead of FOLDER/CLASS/."""
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        return str(self.folder)

    def list(self) -> tuple[list[Candidate], list[Problem]]:
        paths = sorted(p for p in self.folder.rglob("*") if p.is_symlink() or not p.is_dir())
        return [self._candidate(path) for path in paths], []

    def _candidate(self, path: Path) -> Candidate:
        name = path.relative_to(self.folder).as_posix()
        *split, label, _ = name.split("/")
        state = path.lstat()
        stamp = f"{state.st_size}-{state.st_mtime_ns}"
        return Candidate(name, label, split[0] if self.has_splits else None, self.groups.get(name, ""), stamp=stamp)

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()


def main(pictures: str, folder: str) -> None:
    from cnn_tf import console
    from cnn_tf.quiet import import_tensorflow

    import_tensorflow()
    from pipelines.prepare import Settings, prepare
    from pipelines.prepare.observer import showing

    with showing(console.err) as observer:
        prepare(FolderSource(Path(pictures)), Path(folder), Settings(shards=4, on_error="skip"), observer)


if __name__ == "__main__":
    from cnn_tf.console import reporting_errors

    reporting_errors(main)(*sys.argv[1:])
