"""An object store in memory, as fsspec sees one: keys that appear whole, each by itself; no folders, and no rename."""

from __future__ import annotations

import io
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK


class Killed(BaseException):
    """The process is gone: nothing of it runs after this."""


class ObjectStore(AbstractFileSystem):
    """`killed_after` so many changes, the next one is not made; None: never. fsspec gives the same one for every URL."""

    protocol = "objects"

    def __init__(self, **options):
        super().__init__(**options)
        self.keys: dict[str, bytes] = {}
        self.changes: list[tuple[str, str]] = []
        self.killed_after: int | None = None

    def ls(self, path, detail=True, **_):
        path = self._strip_protocol(path)
        if path in self.keys:
            found = [self._key(path)]
        else:
            below = {key for key in self.keys if key.startswith(f"{path}/")}
            names = {f"{path}/{key[len(path) + 1 :].partition('/')[0]}" for key in below}
            found = [self._key(name) for name in sorted(names)]
        if not found:
            raise FileNotFoundError(path)
        return found if detail else [info["name"] for info in found]

    def _key(self, name):
        content = self.keys.get(name)
        return {"name": name, "type": "directory" if content is None else "file", "size": len(content or b"")}

    def _open(self, path, mode="rb", **_):
        assert mode == "rb"
        return io.BytesIO(self.keys[path])

    def put_file(self, lpath, rpath, callback=DEFAULT_CALLBACK, **_):
        self._change("put", rpath, Path(lpath).read_bytes())

    def cp_file(self, path1, path2, **_):
        self._change("copy", path2, self.keys[path1])

    def rm_file(self, path):
        if path in self.keys:
            self._change("remove", path, None)

    def mv(self, path1, path2, **_):
        raise NotImplementedError("an object store renames nothing")

    def _change(self, kind, key, content):
        if self.killed_after == len(self.changes):
            raise Killed
        self.changes.append((kind, key))
        if content is None:
            del self.keys[key]
        else:
            self.keys[key] = content

    def download(self, prefix, folder):
        """What lies below the prefix, as files in the new folder."""
        folder.mkdir()
        for key, content in self.keys.items():
            if key.startswith(f"{prefix}/"):
                file = folder / key.removeprefix(f"{prefix}/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        return folder
