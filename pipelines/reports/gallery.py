"""What a report shows of the pictures at fault: copies side by side, broken files with what can be seen of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.problems import Problem, ProblemKind

MAX_GROUPS, MAX_MEMBERS = 8, 6  # of files with the same bytes
MAX_PAIRS = 16
MAX_BROKEN = 24

# Kinds of which the file itself may show something.
BROKEN = {
    ProblemKind.UNDECODABLE: True,
    ProblemKind.TRUNCATED: True,
    ProblemKind.UNSUPPORTED: True,
    ProblemKind.WRONG_EXTENSION: True,
    ProblemKind.UNREADABLE: False,
    ProblemKind.EMPTY_FILE: False,
    ProblemKind.NOT_A_PICTURE: False,
    ProblemKind.BOMB: False,
}
COPIES = (ProblemKind.DUPLICATE, ProblemKind.LABEL_CONFLICT, ProblemKind.NEAR_DUPLICATE)

# How `prepare` words the details of what is there twice.
SAME = re.compile(r"same as (?P<path>.+)", re.DOTALL)
CONFLICT = re.compile(r"also in (?P<rest>.+)", re.DOTALL)
NEAR = re.compile(r"in (?P<split>\S+), nearly (?P<path>.+) in (?P<other>\S+)", re.DOTALL)


@dataclass(frozen=True)
class Tile:
    """A picture on the page and the lines under it."""

    path: str
    lines: tuple[str, ...] = ()
    warning: str = ""
    readable: bool = True
    """Whether to look into the file at all."""


@dataclass(frozen=True)
class Group:
    """Pictures that belong together."""

    tiles: Sequence[Tile]
    total: int
    """How many there are; the tiles may be some of them."""
    name: str = ""


@dataclass(frozen=True)
class Gallery:
    """Groups of pictures."""

    groups: Sequence[Group]
    total: int
    """How many there are; the groups may be some of them."""


class Pictures:
    """The columns of a manifest that a page is made of."""

    def __init__(self, table: pa.Table) -> None:
        self.paths = table["path"].to_pylist()
        self.labels = table["label"].to_pylist()
        self.sizes = np.stack([table["width"].to_numpy(), table["height"].to_numpy()], axis=1)
        """(N, 2) width and height, pixels."""
        self._rows = {path: row for row, path in enumerate(self.paths)}

    @cached_property
    def in_random_order(self) -> npt.NDArray[np.int64]:
        """All rows, in an order that is random and yet the same each time."""
        return np.argsort(np.array([stable_hash(path) for path in self.paths], np.uint64), kind="stable")

    def tile(self, path: str, warning: str = "") -> Tile:
        """The picture, its class as far as it is known, and whether it is in the data set."""
        known = path in self._rows
        return Tile(path, (self.labels[self._rows[path]], "kept") if known else ("left out",), warning)


def stable_hash(text: str) -> int:
    """64 bits, the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")


def duplicates(problems: Iterable[Problem], pictures: Pictures) -> Gallery:
    """Groups of files with the same bytes, the largest first."""
    edges = []
    for problem in problems:
        if problem.kind == ProblemKind.DUPLICATE:
            match = SAME.fullmatch(problem.detail)
            edges.append((problem.path, match["path"] if match else problem.path))
    return _grouped(edges, pictures.tile)


def conflicts(problems: Sequence[Problem], pictures: Pictures) -> Gallery:
    """Groups of files with the same bytes in several classes, the largest first."""
    found = [problem for problem in problems if problem.kind == ProblemKind.LABEL_CONFLICT]
    known = {problem.path for problem in found}
    edges, labels = [], {}
    for problem in found:
        match = CONFLICT.fullmatch(problem.detail)
        label, other = _label_and_path(match["rest"], known) if match else ("", problem.path)
        edges.append((problem.path, other))
        if label:
            labels[other] = label
    return _grouped(edges, lambda path: pictures.tile(path, labels.get(path, "")))


def _label_and_path(text: str, known: Iterable[str]) -> tuple[str, str]:
    """What "CLASS: PATH" means where either may have a ": " of its own: the path is a known one, if there is such."""
    cuts = [match.start() for match in re.finditer(": ", text)]
    meant = [(text[:cut], text[cut + 2 :]) for cut in cuts]
    return next((one for one in meant if one[1] in known), meant[0] if meant else ("", text))


def near_duplicates(problems: Iterable[Problem], pictures: Pictures) -> Gallery:
    """Pairs of pictures in different splits."""
    pairs = []
    for problem in sorted(problems):
        if problem.kind == ProblemKind.NEAR_DUPLICATE:
            match = NEAR.fullmatch(problem.detail)
            tiles = [pictures.tile(problem.path, match["split"] if match else problem.detail)]
            if match:
                tiles.append(pictures.tile(match["path"], match["other"]))
            pairs.append(Group(tiles, len(tiles)))
    return Gallery(pairs[:MAX_PAIRS], len(pairs))


def _grouped(edges: Iterable[tuple[str, str]], tile: Callable[[str], Tile]) -> Gallery:
    groups = sorted((sorted(group) for group in connected(edges)), key=lambda group: (-len(group), group))
    shown = []
    for group in groups[:MAX_GROUPS]:
        tiles = sorted(map(tile, group), key=lambda one: one.lines[-1])  # "kept" before "left out"
        shown.append(Group(tiles[:MAX_MEMBERS], len(group)))
    return Gallery(shown, len(groups))


def connected(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The connected components of a graph."""
    group_of: dict[str, list[str]] = {}
    for one, other in edges:
        groups = group_of.setdefault(one, [one]), group_of.setdefault(other, [other])
        small, large = sorted(groups, key=len)
        if small is not large:
            large += small
            group_of.update(dict.fromkeys(small, large))
    return list({id(group): group for group in group_of.values()}.values())


def broken(problems: Iterable[Problem]) -> Gallery:
    """A group of files that cannot be used, some of each kind; none if there are no such files."""
    of_kind: dict[str, list[Problem]] = {kind: [] for kind in BROKEN}
    for problem in sorted(problems):
        if problem.kind in of_kind:
            of_kind[problem.kind].append(problem)
    in_turn = sorted((turn, kind) for kind, found in of_kind.items() for turn in range(len(found)))
    taken = sorted(of_kind[kind][turn] for turn, kind in in_turn[:MAX_BROKEN])
    tiles = [
        Tile(one.path, tuple(filter(None, [one.detail])), one.kind.replace("_", " "), BROKEN[one.kind]) for one in taken
    ]
    return Gallery([Group(tiles, len(in_turn))] if tiles else [], 1 if tiles else 0)


def without_picture(problems: Iterable[Problem]) -> list[Problem]:
    """The faults with nothing to look at."""
    return sorted(problem for problem in problems if problem.kind not in BROKEN and problem.kind not in COPIES)
