"""Blocks as boxes and arrows: NiN's, Inception's four branches, the residual block beside the plain one."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from cnn_tf.googlenet import INCEPTIONS
from docs.drawings.sheet import ACCENT, FILL, INK, MUTED, PAPER, SOFT, Place, Sheet

WIDTH, HEIGHT, GAP = 150.0, 30.0, 24.0


def draw_nin_block() -> Figure:
    """From AlexNet's and VGG's way of ending to NiN's."""
    sheet = Sheet(640, 426)
    sheet.title("1x1 convolutions in place of dense layers", "Read upwards, as a picture goes through the network.")
    dense = ("convolution", "maximum pooling", "flatten", "dense 4096", "dense 4096", "dense, one per class")
    nin = ("convolution", "1x1 convolution", "1x1 convolution", "average of each map")
    for left, name, boxes, soft in ((90, "AlexNet, VGG", dense, ()), (390, "NiN", nin, (1, 2, 3))):
        sheet.text((left + WIDTH / 2, 406), name, weight="bold")
        _tower(sheet, (left, 354), boxes, soft)
    return sheet.figure


def draw_inception() -> Figure:
    """Block 3a: what the four branches have, and that they are concatenated."""
    f = INCEPTIONS["stage3_a"]
    sheet = Sheet(760, 400)
    sheet.title(
        "Inception block 3a: four ways to look",
        "The number behind the colon is how many channels come out. Height and width stay.",
    )
    branches = (
        (f"1x1 : {f.conv_1x1}",),
        (f"1x1 : {f.conv_3x3_reduce}", f"3x3 : {f.conv_3x3}"),
        (f"1x1 : {f.conv_5x5_reduce}", f"5x5 : {f.conv_5x5}"),
        ("3x3 maximum : 192", f"1x1 : {f.pool_proj}"),
    )
    for number, boxes in enumerate(branches):
        left = 44 + 174 * number
        middle = left + WIDTH / 2
        sheet.arrow((380, 336), (middle, 280))
        _tower(sheet, (left, 250), boxes, (len(boxes) - 1,))
        top = 250 - (HEIGHT + GAP) * (len(boxes) - 1)
        sheet.arrow((middle, top), (middle, 136))
    sheet.box((44, 106), (672, HEIGHT), SOFT, ACCENT, lw=1)
    last = (f.conv_1x1, f.conv_3x3, f.conv_5x5, f.pool_proj)
    sheet.text((380, 121), f"concatenated : {' + '.join(map(str, last))} = {sum(last)}", size=12)
    sheet.box((305, 336), (WIDTH, HEIGHT), FILL)
    sheet.text((380, 351), "input : 192")
    return sheet.figure


def draw_residual() -> Figure:
    """A plain block, a residual one, and one that changes the shape."""
    sheet = Sheet(860, 452)
    sheet.title("The residual block adds its input", "It has to learn only what is to change, g(x). Read upwards.")
    boxes = ("3x3 convolution", "batch norm", "ReLU", "3x3 convolution", "batch norm")
    for left, name, way in (
        (40, "plain", None),
        (300, "residual", ""),
        (590, "residual, new shape", "1x1 conv\nbatch norm"),
    ):
        middle = left + WIDTH / 2
        sheet.text((middle, 430), name, weight="bold")
        sheet.text((middle - 14, 396), "x", color=MUTED)
        sheet.arrow((middle, 410), (middle, 376))
        _tower(sheet, (left, 346), boxes, (), gap=14)
        top = 346 - 44 * (len(boxes) - 1)
        if way is None:
            sheet.arrow((middle, top), (middle, top - 64))
        else:
            sheet.arrow((middle, top), (middle, top - 18))
            _shortcut(sheet, left, top, way)
            sheet.arrow((middle, top - 42), (middle, top - 64))
        sheet.box((left, top - 94), (WIDTH, HEIGHT), FILL)
        sheet.text((middle, top - 79), "ReLU")
    return sheet.figure


def _shortcut(sheet: Sheet, left: float, top: float, way: str) -> None:
    """The line beside the block, and the plus where it ends."""
    middle, right, plus = left + WIDTH / 2, left + WIDTH + 56, top - 30
    sheet.axes.plot([middle, right, right], [398, 398, plus], color=ACCENT, lw=2)
    sheet.arrow((right, plus), (middle + 13, plus), ACCENT, lw=2)
    sheet.axes.plot(middle, plus, "o", ms=22, color=PAPER, mec=ACCENT, mew=1.6, zorder=4)
    sheet.text((middle, plus + 0.5), "+", size=15, color=ACCENT, zorder=5)
    if way:
        sheet.box((right - 38, 220), (76, 44), SOFT, ACCENT, lw=1, zorder=4)
        sheet.text((right, 242), way, size=10, zorder=5)


def _tower(sheet: Sheet, at: Place, boxes: Sequence[str], soft: Sequence[int], gap: float = GAP) -> None:
    """Boxes upwards from `at`, arrows between them; those at the indices `soft` stand out."""
    left, top = at
    for number, text in enumerate(boxes):
        y = top - (HEIGHT + gap) * number
        sheet.box((left, y), (WIDTH, HEIGHT), SOFT if number in soft else FILL)
        sheet.text((left + WIDTH / 2, y + HEIGHT / 2), text, color=INK)
        if number:
            sheet.arrow((left + WIDTH / 2, y + HEIGHT + gap), (left + WIDTH / 2, y + HEIGHT))
