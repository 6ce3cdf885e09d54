"""ResNet: why more layers may be worse, and why nested classes of functions may not; the note's figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Circle

from docs.drawings.sheet import ACCENT, INK, MUTED, PAPER, SOFT, Place, Sheet

Disc = tuple[Place, float]
"""Middle and radius of what stands for a class of functions."""

WANTED: Place = (250, 128)
"""f*, the function looked for, from a panel's left edge."""
APART: Sequence[Disc] = (((178, 222), 34), ((140, 264), 46), ((212, 300), 58), ((92, 200), 70))
NESTED: Sequence[Disc] = (((178, 222), 34), ((172, 228), 56), ((166, 234), 80), ((160, 240), 104))


def draw_function_classes() -> Figure:
    """Four classes, each larger than the one before: on the left they move away, on the right they grow."""
    sheet = Sheet(760, 420)
    sheet.title(
        "A larger class of functions helps for sure only if it contains the smaller",
        "f* is the function looked for; F1 to F4 is what networks with more and more layers can be.",
    )
    for left, name, note, discs in (
        (24, "not nested", "F4 is the largest, but F1 was nearer to f*", APART),
        (400, "nested, as with shortcuts", "each contains the one before, so none is farther", NESTED),
    ):
        sheet.text((left + 160, 380), name, weight="bold")
        sheet.text((left + 160, 400), note, color=MUTED)
        _panel(sheet, left, discs)
    return sheet.figure


def gap(disc: Disc) -> float:
    """How far `WANTED` is from a class."""
    (x, y), radius = disc
    return math.hypot(WANTED[0] - x, WANTED[1] - y) - radius


def nearest(disc: Disc) -> Place:
    """The place in a class that is nearest to `WANTED`."""
    (x, y), radius = disc
    share = radius / math.hypot(WANTED[0] - x, WANTED[1] - y)
    return x + share * (WANTED[0] - x), y + share * (WANTED[1] - y)


def _panel(sheet: Sheet, left: float, discs: Sequence[Disc]) -> None:
    for number, ((x, y), radius) in reversed(list(enumerate(discs, start=1))):
        last = number == len(discs)
        face = SOFT if last else "none" if discs is APART else PAPER
        sheet.axes.add_patch(Circle((left + x, y), radius, facecolor=face, edgecolor=MUTED, lw=1.3))
        sheet.text((left + x, y if discs is APART else y + radius - 11), f"F{number}", color=INK)
    if discs is APART:
        _distance(sheet, left, discs[0], MUTED)
    _distance(sheet, left, discs[-1], ACCENT)
    sheet.axes.plot(left + WANTED[0], WANTED[1], "o", ms=7, color=ACCENT)
    sheet.text((left + WANTED[0] + 16, WANTED[1] - 6), "f*", size=13, color=ACCENT)


def _distance(sheet: Sheet, left: float, disc: Disc, colour: str) -> None:
    x, y = nearest(disc)
    sheet.axes.plot([left + x, left + WANTED[0]], [y, WANTED[1]], color=colour, lw=1.6, ls=(0, (3, 2)))
