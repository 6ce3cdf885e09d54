"""Classifies picture files: finds them, sends them in batches, keeps one bad file from failing the others."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, tee
from pathlib import Path
from typing import Any

from serving.client.bulk import Refused
from serving.client.predict import PredictClient
from serving.client.results import Score
from serving.errors import FailedPrecondition, InvalidArgument, NotFound

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
INPUT = "image_bytes"
# The exports' signatures that take encoded pictures, the better one first, and which outputs are wanted. With the lenient one a
# bad picture costs no second round, and no stranger is refused for it where a server batches requests together, as TensorFlow
# Serving can.
SIGNATURES = {
    "serving_bytes_lenient": ("top_labels", "top_scores", "valid", "problem"),
    "serving_bytes": ("top_labels", "top_scores"),
}


class WrongUse(InvalidArgument):
    """What was asked for cannot be; nothing was sent."""

    exit_code = 2


@dataclass(frozen=True)
class Answer:
    """What the model says of one file: class names with probabilities, the best first; or why it cannot say."""

    path: Path
    top: list[Score] = field(default_factory=list)
    version: int | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        r"""The path as text that can be written; bytes that are no UTF-8 are as \xff."""
        return name_of(self.path)

    def row(self) -> dict[str, Any]:
        """Of a file that was classified."""
        (label, probability), *_ = self.top
        ranking = [{"class": label, "probability": share} for label, share in self.top]
        return {
            "file": self.name,
            "class": label,
            "probability": probability,
            "top": ranking,
            "version": self.version,
        }


def name_of(path: Path) -> str:
    """As `Answer.name`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def find(paths: Sequence[str]) -> Iterator[Path]:
    """Files as they are, folders searched for pictures at any depth, patterns such as "photos/*.png" expanded.

    In the order of the disk, so that a folder of a million files need not be listed first. Raises WrongUse at once, naming the
    first path that gives nothing; OSError for a folder that cannot be read.
    """
    require_pictures(paths)
    return chain.from_iterable(map(_find, paths))


def require_pictures(paths: Sequence[str]) -> None:
    """Raises WrongUse, naming the first path that gives no picture."""
    for text in paths:
        if next(_find(text), None) is None:
            wanted = f"No pictures in the folder {text}. Expected files ending in {', '.join(SUFFIXES)}."
            raise WrongUse(wanted if Path(text).is_dir() else f"No such file, folder or pattern: {text}.")


def find_sorted(paths: Sequence[str]) -> list[Path]:
    """The same, those of each path by name."""
    require_pictures(paths)
    return [file for text in paths for file in sorted(_find(text))]


def _find(text: str) -> Iterator[Path]:
    path = Path(text)
    if path.is_file():
        return iter([path])
    if path.is_dir():
        return _walk(path)
    # Path.glob takes no absolute pattern.
    return (match for name in glob.iglob(text, recursive=True) if (match := Path(name)).is_file())  # noqa: PTH207


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                yield Path(entry.path)


def require_address(address: str) -> None:
    """Raises WrongUse unless `address` is HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise WrongUse(f"A server's address is HOST:PORT, such as localhost:8500. Received: {address!r}.")


def find_signature(client: PredictClient) -> str:
    """One that takes encoded pictures and names their classes. Raises FailedPrecondition if there is none; ServingError."""
    try:
        found = client.metadata()
    except NotFound as error:
        raise NotFound(f"{error.message}. Name a model that {client.address} serves with --model.") from error
    for name, outputs in SIGNATURES.items():
        signature = found.get(name)
        if signature and INPUT in signature.inputs and set(outputs) <= set(signature.outputs):
            return name
    name, outputs = list(SIGNATURES.items())[-1]
    raise FailedPrecondition(
        f"Model {client.model} does not take picture files: expected a signature {name} with the input {INPUT} and the "
        f"outputs {', '.join(outputs)}. It has: {', '.join(sorted(found))}. Models from cnn-tf export have it."
    )


def classify(client: PredictClient, paths: Iterable[Path], signature: str, **options: Any) -> Iterator[Answer]:
    """An answer for each file, in order. A file that cannot be read or decoded gets an answer with its error.

    signature: as `find_signature` gives it.  options: of the client's `map`.

    Raises ServingError for whatever concerns more than one file.
    """
    given, names = tee(paths)
    with closing(client.map(given, signature=signature, outputs=SIGNATURES[signature], **options)) as answers:
        for answer, path in zip(answers, names, strict=False):  # answers first: they take the paths
            yield (
                Answer(path, error=answer.reason)
                if isinstance(answer, Refused)
                else Answer(path, answer.top(), answer.version)
            )
