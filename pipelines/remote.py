"""A folder of models on any file system that fsspec knows, to publish into. What goes wrong there is told in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsspec.callbacks import Callback

from pipelines import checksums, files
from pipelines.errors import PublishFailed, UsageError
from pipelines.sources.location import Location

# Protocols whose `mv` renames a folder as a whole. In all others, object stores, each key appears by itself.
RENAMING = {"file", "ftp", "hdfs", "sftp", "smb", "webhdfs"}
# Protocols of places that are only read.
READ_ONLY = {"data", "github", "http", "https", "tar", "zip"}


@dataclass(frozen=True)
class Remote:
    """The place, in which paths are relative and '/'-separated. Every method raises PublishFailed.

    Raises UsageError from the constructor for a place that can only be read.
    """

    place: Location
    callback: Callback
    """Is told how many bytes were sent and read."""

    def __post_init__(self) -> None:
        if not READ_ONLY.isdisjoint(self._protocols):
            raise UsageError(
                f"Expected a place that can be written to, such as gs://bucket/models. Received: {self.place.text}."
            )

    @property
    def renames(self) -> bool:
        """Whether a folder can be renamed as a whole."""
        return not RENAMING.isdisjoint(self._protocols)

    @property
    def _protocols(self) -> Sequence[str]:
        protocol = self.place.fs.protocol
        return [protocol] if isinstance(protocol, str) else protocol

    def url(self, path: str) -> str:
        """Of a file or folder, for people."""
        return self.place.child(path).url

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file below, by its path in the folder; empty if there is none."""
        root = self._path(folder)
        with self._told(folder, "read"):
            self.place.fs.invalidate_cache()  # others write there too
            found = self.place.fs.find(root, detail=True)
            return {name.removeprefix(f"{root}/"): info.get("size", -1) for name, info in found.items()}

    def sha256(self, file: str) -> str:
        """Of what is stored, read back."""
        with self._told(file, "read"), self.place.fs.open(self._path(file), "rb") as stream:
            return checksums.sha256_of(stream, self.callback.relative_update)

    def put(self, source: Path, file: str) -> None:
        """Sends the local file `source`."""
        path, part = self._path(file), _part(self.callback)
        with self._told(file, "written"):
            if self.renames:  # object stores have no folders, and may take this for the wish for a bucket
                self.place.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.place.fs.put_file(str(source), path, callback=part)
        part.absolute_update(source.stat().st_size)  # not every backend counts

    def copy(self, source: str, file: str) -> None:
        """Within the place, which object stores do by themselves."""
        with self._told(file, "written"):
            self.place.fs.cp_file(self._path(source), self._path(file))

    def rename(self, source: str, folder: str) -> None:
        """A folder as a whole, to where there is none."""
        old, new = self._path(source), self._path(folder)
        with self._told(folder, "written"):
            if self.place.is_local:
                files.into_place(Path(old), Path(new))
            elif self.place.fs.exists(new):  # HDFS would move it into that
                raise FileExistsError("an empty folder is there, remove it")
            else:
                self.place.fs.mv(old, new)

    def remove(self, folder: str) -> None:
        """With all that is in it, if it is there."""
        with self._told(folder, "removed"):
            if self.place.fs.exists(self._path(folder)):
                self.place.fs.rm(self._path(folder), recursive=True)

    def _path(self, path: str) -> str:
        return self.place.child(path).path

    @contextmanager
    def _told(self, path: str, done: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each backend of fsspec has exceptions of its own
            advice = "Check the address, the credentials and the rights; the same command goes on from here."
            if isinstance(error, FileNotFoundError):  # it was there a moment ago
                advice = "If this version is being published from elsewhere too, let that end. " + advice
            raise PublishFailed(
                f"{self.url(path)} cannot be {done}: {type(error).__name__}: {' '.join(str(error).split())}. {advice}"
            ) from error


def _part(whole: Callback) -> Callback:
    """Counts the bytes of one file for the callback that counts those of all."""
    start = whole.value
    return Callback(hooks={"whole": lambda size, value, **_: whole.absolute_update(start + value)})
