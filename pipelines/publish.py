"""Copies an exported version to where servers take models from, so that none ever loads a part of it.

PLACE/NAME/.publishing-VERSION-DIGEST/   the copy on its way; its name is no number, so no server looks into it
PLACE/NAME/VERSION/                      the version

TensorFlow Serving takes every number below PLACE/NAME/ for a version, whatever is in it, and a SavedModel without variables
for a good one, which then fails each request. So:

1. The files are sent into `.publishing-...` and read back.
2. Where folders can be renamed (`remote.RENAMING`), that is how the version appears. In an object store each key appears by
   itself, whole; there the store copies them within itself, which takes seconds however slow the way to it is, in this order:
   assets.extra/manifest.json first, with which the embedded server waits until all is there that it names;
   saved_model.pb last, without which nobody loads a SavedModel. It is the marker: the version is there when it is.
3. The copy on its way is removed.

Killed at any moment, no version is there, or all of it, or in an object store one without saved_model.pb. A TensorFlow Serving
that looks between the first key and the last fails to load it, keeps the version that it has, and tries again after
`--load_retry_interval_micros` (60 s), `--max_num_load_retries` (5) times.

The same command goes on after a kill. DIGEST is the manifest's, so what lies there is of the same version. To remove a version
from an object store, remove saved_model.pb first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fsspec.callbacks import Callback

from pipelines import checksums
from pipelines.errors import PublishFailed, ReleaseRefused
from pipelines.remote import Remote
from pipelines.sources.location import Location

MANIFEST, MARKER = checksums.MANIFEST.as_posix(), "saved_model.pb"


@dataclass(frozen=True)
class Published:
    """A version at its place."""

    url: str
    files: int
    size: int
    """Bytes of the files."""
    missing: int
    """How many of the files were not there before."""


class File(NamedTuple):
    """A file of a version."""

    path: str
    """In the version folder, '/'-separated."""
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""


def publish(
    folder: Path,
    name: str,
    place: Location,
    *,
    verify: bool = True,
    dry_run: bool = False,
    callback: Callback | None = None,
) -> Published:
    """Copies the version `folder`, which must fit its manifest, to `place`/`name`/VERSION. What is there already is not sent.

    verify: reads every file back and compares its checksum, before the version appears; else sizes alone.
    dry_run: only looks what is there.
    callback: is told how many bytes were sent and read, of how many.

    Raises ReleaseRefused if something else has the place, UsageError for a place that is only read, PublishFailed if it cannot
    be read or written; DataDamaged.
    """
    remote, wanted = Remote(place, callback or Callback()), in_order(folder)
    target = f"{name}/{folder.name}"
    aside = f"{name}/.publishing-{folder.name}-{wanted[0].sha256[:12]}"
    there = _there(remote, target, wanted, verify)
    missing = [file for file in wanted if file not in there]
    if missing and there and remote.renames:
        raise ReleaseRefused(f"{remote.url(target)} lacks {missing[0].path}. Remove it, and publish it anew.")
    if not dry_run:
        if missing:
            _send(remote, folder, aside, wanted, verify)
            _appear(remote, aside, target, wanted)
        remote.remove(aside)
    return Published(remote.url(target), len(wanted), sum(file.size for file in wanted), len(missing))


def in_order(folder: Path) -> list[File]:
    """The files of a version, each of which may appear when those before are there. Raises DataDamaged."""
    manifest = File(MANIFEST, (folder / MANIFEST).stat().st_size, checksums.sha256(folder / MANIFEST))
    files = [File(path, *promise) for path, promise in sorted(checksums.promised(folder).items())]
    return [manifest, *sorted(files, key=lambda file: file.path == MARKER)]


def _there(remote: Remote, target: str, wanted: list[File], verify: bool) -> list[File]:
    """Which files have appeared. Raises ReleaseRefused if there is anything else."""
    sizes = remote.sizes(target)
    there = [file for file in wanted if file.path in sizes]
    # The manifest's content tells versions apart, whatever else is compared.
    compared = [file for file in there if verify or file.path == MANIFEST]
    _expect(remote.callback, compared)
    others = sizes.keys() - {file.path for file in there}
    others |= {file.path for file in there if sizes[file.path] != file.size}
    # Reading takes long, so it is for those that sizes do not tell apart.
    if others or (others := {file.path for file in compared if remote.sha256(f"{target}/{file.path}") != file.sha256}):
        raise ReleaseRefused(
            f"{remote.url(target)} is there with other content ({', '.join(sorted(others)[:3])}): versions are never "
            "overwritten. Publish a version of another number, or remove that one, saved_model.pb first."
        )
    return there


def _send(remote: Remote, folder: Path, aside: str, wanted: list[File], verify: bool) -> None:
    def is_good(file: File) -> bool:
        return not verify or remote.sha256(f"{aside}/{file.path}") == file.sha256

    sizes = remote.sizes(aside)
    unsent = [file for file in wanted if sizes.get(file.path) != file.size]
    _expect(remote.callback, [*unsent, *(wanted if verify else [])])
    for file in wanted:
        if file not in unsent and is_good(file):
            continue
        remote.put(folder / file.path, f"{aside}/{file.path}")
        if not is_good(file):
            raise PublishFailed(
                f"{remote.url(aside)}/{file.path} is not what was sent: its SHA-256 differs. Run the same command again."
            )
    _require(remote, aside, wanted)


def _appear(remote: Remote, aside: str, target: str, wanted: list[File]) -> None:
    there = _there(remote, target, wanted, verify=False)  # sending may have taken long enough for another one to come
    missing = [file for file in wanted if file not in there]
    if missing and remote.renames:
        remote.rename(aside, target)
    else:
        for file in missing:
            remote.copy(f"{aside}/{file.path}", f"{target}/{file.path}")
    _require(remote, target, wanted)


def _require(remote: Remote, folder: str, wanted: list[File]) -> None:
    """Raises PublishFailed unless these files are there, by their sizes, and no others."""
    if (sizes := remote.sizes(folder)) != {file.path: file.size for file in wanted}:
        wrong = sorted({*sizes.items()} ^ {(file.path, file.size) for file in wanted})
        raise PublishFailed(
            f"{remote.url(folder)} does not hold what was sent: see {wrong[0][0]}. Unless this version is being published "
            "from elsewhere too, remove it, and publish anew."
        )


def _expect(callback: Callback, files: list[File]) -> None:
    """Bytes that will be sent or read."""
    callback.set_size((callback.size or 0) + sum(file.size for file in files))
