"""Emoji: 712 small colour pictures in four classes, out of a font that Debian distributes.

Pictures: Noto Color Emoji (Google, SIL Open Font License 1.1), bitmaps of 136x128 pixels. Classes: Unicode's emoji-test.txt
(UTS #51), by its groups.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines import files
from pipelines.errors import DataUnavailable, UsageError
from pipelines.sources import debian
from pipelines.sources.cache import cache_folder
from pipelines.sources.folder import Folder, open_folder
from pipelines.sources.location import Location

NAME = "emoji"
VERSION = "2"  # of what `extract` makes
PACKAGES = ("fonts-noto-color-emoji", "unicode-data")
FONT = Path("usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
GROUPS = Path("usr/share/unicode/emoji/emoji-test.txt")

# Group of emoji-test.txt -> class. Animals come with plants, as Unicode has them.
CLASSES: Mapping[str, str] = {
    "Smileys & Emotion": "smileys",
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Flags": "flags",
}
VARIATION_SELECTOR = 0xFE0F  # asks for the coloured picture; a font that has no other does not know it
LIGATURE = 4  # OpenType's number of a lookup that replaces several glyphs by one

Sequence = tuple[int, ...]
"""Code points of one emoji."""


def open_emoji(location: Location) -> Folder:
    """The source, from the cache or else from Debian's packages. Raises DataUnavailable, UsageError."""
    folder = cache_folder() / NAME / VERSION
    if not folder.is_dir():
        logging.getLogger(__name__).info("Extracting pictures from Debian's packages %s", ", ".join(PACKAGES))
        try:
            with debian.unpacked(*PACKAGES) as root, files.folder_aside(folder) as aside:
                extract(root / FONT, root / GROUPS, aside)
        except FileExistsError:  # by another process, meanwhile
            pass
        except (DataUnavailable, OSError) as error:
            raise DataUnavailable(
                f"The emoji pictures could not be had: {error}. They are made from Debian's packages {' and '.join(PACKAGES)}; "
                f"on another system, copy the folder {folder} from one that has apt-get."
            ) from error
    return open_folder(Location.parse(str(folder)), NAME)


def extract(font: Path, groups: Path, folder: Path) -> None:
    """Writes the pictures as `folder`/CLASS/CODEPOINTS.png; of flags that are drawn alike, the first.

    Raises UsageError if fontTools is not installed.
    """
    pictures = _bitmaps(font)
    written = set()
    for name, sequence in _emoji(groups.read_text(encoding="utf-8")):
        if (picture := pictures.get(sequence)) is not None and picture not in written:
            written.add(picture)
            path = folder / name / ("-".join(f"{point:04x}" for point in sequence) + ".png")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(picture)


def _emoji(text: str) -> Iterator[tuple[str, Sequence]]:
    """Class and code points of each emoji of our classes in emoji-test.txt."""
    name = None
    for line in text.splitlines():
        if line.startswith("# group:"):
            name = CLASSES.get(line.partition(":")[2].strip())
        elif name and (match := re.match(r"([0-9A-F ]+?)\s*; fully-qualified", line)):
            points = (int(point, 16) for point in match[1].split())
            yield name, tuple(point for point in points if point != VARIATION_SELECTOR)


def _bitmaps(path: Path) -> dict[Sequence, bytes]:
    """PNG files by code points: of single glyphs, and of those that take the place of several."""
    try:
        from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError("The emoji pictures need fontTools, which is not installed: pip install fonttools") from None
    with TTFont(path) as font:
        characters = font.getBestCmap()
        points = {glyph: point for point, glyph in characters.items()}
        glyphs = {(point,): glyph for point, glyph in characters.items()}
        for lookup in font["GSUB"].table.LookupList.Lookup:
            for table in lookup.SubTable if lookup.LookupType == LIGATURE else ():
                for first, ligatures in table.ligatures.items():
                    for ligature in ligatures:
                        sequence = (first, *ligature.Component)
                        if all(glyph in points for glyph in sequence):
                            glyphs[tuple(points[glyph] for glyph in sequence)] = ligature.LigGlyph
        pictures = font["CBDT"].strikeData[0]
        return {sequence: pictures[glyph].imageData for sequence, glyph in glyphs.items() if glyph in pictures}
