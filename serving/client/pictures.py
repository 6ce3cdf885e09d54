"""Classifies picture files: finds them, sends them in batches, keeps one bad file from failing the others."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path

from serving.client.bulk import Refused
from serving.client.predict import PredictClient
from serving.client.results import Score
from serving.errors import FailedPrecondition, InvalidArgument, NotFound

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
SIGNATURE = "serving_bytes"
INPUT = "image_bytes"
OUTPUTS = ("top_labels", "top_scores")


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


def find(paths: Sequence[str]) -> list[Path]:
    """Files as they are, folders searched for pictures at any depth, patterns such as "photos/*.png" expanded.

    Raises WrongUse, naming the first path that gives nothing.
    """
    return [file for path in paths for file in _find(path)]


def _find(text: str) -> list[Path]:
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise WrongUse(f"No pictures in the folder {text}. Expected files ending in {', '.join(SUFFIXES)}.")
        return found
    # Path.glob takes no absolute pattern.
    found = sorted(match for name in glob.glob(text, recursive=True) if (match := Path(name)).is_file())  # noqa: PTH207
    if not found:
        raise WrongUse(f"No such file, folder or pattern: {text}.")
    return found


def require_address(address: str) -> None:
    """Raises WrongUse unless `address` is HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise WrongUse(f"A server's address is HOST:PORT, such as localhost:8500. Received: {address!r}.")


def require_signature(client: PredictClient) -> None:
    """Raises FailedPrecondition unless the model takes encoded pictures and names their classes; ServingError."""
    try:
        found = client.signatures()
    except NotFound as error:
        raise NotFound(f"{error.message}. Name a model that {client.address} serves with --model.") from error
    signature = found.get(SIGNATURE)
    if signature and INPUT in signature.inputs and set(OUTPUTS) <= set(signature.outputs):
        return
    raise FailedPrecondition(
        f"Model {client.model} does not take picture files: expected a signature {SIGNATURE} with the input {INPUT} and the "
        f"outputs {', '.join(OUTPUTS)}. It has: {', '.join(sorted(found))}. Models from cnn-tf export have it."
    )


def classify(client: PredictClient, paths: Iterable[Path], batch_size: int = 32) -> Iterator[Answer]:
    """An answer for each file, in order. A file that cannot be read or decoded gets an answer with its error.

    Raises ServingError for whatever concerns more than one file.
    """
    given, names = tee(paths)
    with closing(client.map(given, batch_size=batch_size, signature=SIGNATURE, outputs=OUTPUTS)) as answers:
        for answer, path in zip(answers, names, strict=False):  # answers first: they take the paths
            yield (
                Answer(path, error=answer.reason)
                if isinstance(answer, Refused)
                else Answer(path, answer.top(), answer.version)
            )
