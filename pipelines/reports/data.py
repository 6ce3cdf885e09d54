"""The report of a data set: what it is, what is wrong with it and what it looks like, as one HTML page."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.manifest import SPLITS
from pipelines.problems import Problem
from pipelines.reports import figures, findings, gallery, page, thumbnails
from pipelines.reports.gallery import Gallery, Group, Pictures, Tile

# What a page shows at most: less than 3 MB, however large the data set is.
MAX_ROWS = 1000  # of the table of classes
MAX_CLASSES, MAX_SAMPLES = 40, 8
MAX_OTHERS = 24
MAX_DOTS = 5000
MAX_BINS = 16

MODES: Mapping[str, str] = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey, with transparency",
    "I": "grey, 16 bits",
    "I;16": "grey, 16 bits",
    "P": "colours from a palette",
    "RGB": "colour",
    "RGBA": "colour, with transparency",
    "CMYK": "colours of print",
    "YCCK": "colours of print",
}


def render(
    name: str,
    table: pa.Table,
    facts: Mapping[str, Any],
    statistics: Mapping[str, Any],
    problems: Sequence[Problem],
    read: Callable[[str], bytes],
) -> str:
    """The page, self-contained; the same data set gives the same text.

    table: manifest.SCHEMA; facts: as manifest.write has them; statistics: as in statistics.json.
    read: gives the encoded picture of a path in the source or raises OSError; it is called from several threads.
    """
    pictures = Pictures(table)
    kinds = Counter(problem.kind for problem in problems)
    galleries = {
        "samples": samples(pictures, facts["class_names"]),
        "conflicts": gallery.conflicts(problems, pictures),
        "duplicates": gallery.duplicates(problems, pictures),
        "near": gallery.near_duplicates(problems, pictures),
        "broken": gallery.broken(problems),
    }
    tiles = [tile for shown in galleries.values() for group in shown.groups for tile in group.tiles]
    others = gallery.without_picture(problems)
    context: dict[str, Any] = {"title": name, "statistics": statistics, **galleries}
    context |= {
        "source": facts.get("source") or facts.get("root") or "",
        "findings": findings.find(facts["class_names"], statistics, kinds, pictures.sizes),
        "classes": classes(facts["class_names"], statistics["classes"]),
        "num_classes": len(facts["class_names"]),
        "splits": {split: statistics["splits"].get(split, 0) for split in SPLITS},
        "has_problems": bool(kinds),
        "channels": list(zip(statistics["mean"], statistics["std"], strict=True)),
        "sizes": _scatter(pictures),
        "histogram": _histogram(statistics["sizes"].get("histogram", [])),
        "others": {"problems": others[:MAX_OTHERS], "total": len(others)},
        "modes": MODES,
        "thumbnails": thumbnails.make((tile.path for tile in tiles if tile.readable), read),
        "command": f"cnn-tf train --set data.source={shlex.quote(name)} --name {shlex.quote(name)}",
    }
    return page.render("data.html.jinja", **context)


def classes(
    class_names: Sequence[str], counts: Mapping[str, Mapping[str, int]]
) -> list[tuple[str, Mapping[str, int], int]]:
    """(class, its pictures by split, their number), the largest first; of very many, both ends."""
    rows = [(name, counts.get(name, {}), sum(counts.get(name, {}).values())) for name in class_names]
    rows.sort(key=lambda row: (-row[2], row[0]))
    half = MAX_ROWS // 2
    return rows if len(rows) <= MAX_ROWS else rows[:half] + rows[-half:]


def samples(pictures: Pictures, class_names: Sequence[str]) -> Gallery:
    """Some pictures of some classes."""
    filled = set(pictures.labels)
    chosen = sorted(filled, key=gallery.stable_hash)[:MAX_CLASSES]
    of_class: dict[str, list[str]] = {name: [] for name in class_names if name in chosen}
    for row in pictures.in_random_order:
        if pictures.labels[row] in of_class:
            of_class[pictures.labels[row]].append(pictures.paths[row])
    groups = [Group([Tile(path) for path in paths[:MAX_SAMPLES]], len(paths), name) for name, paths in of_class.items()]
    return Gallery(groups, len(filled))


def _scatter(pictures: Pictures) -> dict[str, Any]:
    """Light and dark drawing of the sizes of some pictures; none where all have one size."""
    dots = pictures.sizes[pictures.in_random_order[:MAX_DOTS]]
    several = len(np.unique(pictures.sizes, axis=0)) > 1
    drawn = [figures.png(palette, figures.draw_sizes, dots) for palette in (figures.LIGHT, figures.DARK) if several]
    return {"drawings": drawn, "shown": len(dots)}


def _histogram(bins: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """At most 16 bins (from, to, pictures), without the empty ones at both ends."""
    filled = [number for number, (_, _, count) in enumerate(bins) if count]
    inner = bins[filled[0] : filled[-1] + 1] if filled else []
    step = -(-len(inner) // MAX_BINS) or 1
    parts = [inner[start : start + step] for start in range(0, len(inner), step)]
    return [(part[0][0], part[-1][1], sum(count for _, _, count in part)) for part in parts]
