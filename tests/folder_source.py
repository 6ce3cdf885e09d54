"""A folder of class folders as a source whose groups and kept problems a test chooses, and a command that prepares one:
python -m folder_source FROM TO.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import sources


@dataclass
class FolderSource:
    folder: Path
    name: str = "pictures"
    kept: frozenset[str] = frozenset()
    class_names: tuple[str, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)
    """Path -> group."""

    @property
    def root(self) -> str:
        return str(self.folder)

    def list(self) -> sources.Listing:
        candidates, problems = sources.open_source(str(self.folder)).list()
        grouped = [dataclasses.replace(found, group=self.groups.get(found.path, "")) for found in candidates]
        return grouped, problems

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
