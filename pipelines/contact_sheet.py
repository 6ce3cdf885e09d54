"""Pictures of a data set on one sheet, as they are or as training changes them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from cnn_tf import naming
from pipelines import dataset, transforms
from pipelines.config import TrainConfig
from pipelines.manifest import DataSet

Picture = npt.NDArray[np.uint8]
"""(H, W, C), values 0..255; C is 1 or 3."""

VERSIONS = 15
USUAL_SHAPE = (224, 224)

# Pixels.
CELL, GAP, MARGIN = 144, 8, 36
TITLE, DETAIL = 20, 14
TITLE_HEIGHT, DETAIL_HEIGHT, BLOCK_GAP = 28, 20, 28

# Of Matplotlib: Pillow's own font has English letters alone.
FONT = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")

PAPER, PANEL, INK, FADED = "#fbfaf7", "#efede6", "#22252a", "#81858c"


class Example(NamedTuple):
    """A picture, its class name, what else is to be told of it, and what training makes of it."""

    image: Picture
    title: str
    detail: str = ""
    versions: Sequence[Picture] = ()


def choose(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """So many of the positions 0 to count - 1, or all of them, evenly spread: splits may be sorted by class."""
    return np.array(np.linspace(0, count - 1, min(wanted, count)).round(), np.int64)


def examples(data: DataSet, split: str, positions: Sequence[int] | npt.NDArray[np.int64]) -> list[Example]:
    """The pictures at those positions of a split, in their own sizes."""
    chosen = data.splits[split]
    read, decode = chosen.storage.reader(), transforms.decode(data.channels)
    return [
        Example(
            decode(read(tf.constant(position, tf.int64))).numpy(),
            data.class_names[chosen.labels[position]],
            str(chosen.ids[position]),
        )
        for position in map(int, positions)
    ]


def augmented(
    data: DataSet, split: str, positions: Sequence[int] | npt.NDArray[np.int64], config: TrainConfig
) -> list[Example]:
    """The same with VERSIONS of each, which are what training on these alone would see in as many epochs."""
    chosen = data.splits[split].take(np.asarray(positions))
    training = config.model_copy(
        update={"epochs": VERSIONS, "data": config.data.model_copy(update={"batch_size": len(chosen)})}
    )
    batches = dataset.for_training(chosen, training, _input_shape(data, config), len(data.class_names))
    epochs = [dict(zip(batch["id"], batch["image"], strict=True)) for batch in batches.as_numpy_iterator()]
    return [
        example._replace(versions=[epoch[str(name).encode()] for epoch in epochs])
        for example, name in zip(examples(data, split, positions), chosen.ids, strict=True)
    ]


def _input_shape(data: DataSet, config: TrainConfig) -> tuple[int, int, int]:
    if config.data.input_shape is not None:
        return naming.parse_shape(config.data.input_shape)
    return data.image_shape or (*USUAL_SHAPE, data.channels)


def draw(shown: Sequence[Example], columns: int) -> bytes:
    """A PNG of the examples: with versions, a block each of the original and `columns` versions a line; else a grid."""
    return _blocks(shown, columns) if any(example.versions for example in shown) else _grid(shown, columns)


def _grid(shown: Sequence[Example], columns: int) -> bytes:
    columns = min(columns, len(shown))
    height = CELL + GAP + TITLE_HEIGHT + DETAIL_HEIGHT
    sheet = _sheet(_length(columns, CELL, 2 * GAP), _length(-(-len(shown) // columns), height, BLOCK_GAP))
    for (row, column), example in zip(_places(columns), shown, strict=False):
        left, top = MARGIN + column * (CELL + 2 * GAP), MARGIN + row * (height + BLOCK_GAP)
        _put(sheet, example.image, left, top, CELL)
        _write(sheet, example.title, left, top + CELL + GAP, TITLE, INK, CELL)
        _write(sheet, example.detail, left, top + CELL + GAP + TITLE_HEIGHT, DETAIL, FADED, CELL)
    return _png(sheet)


def _blocks(shown: Sequence[Example], columns: int) -> bytes:
    """The original is as high as its versions' lines together."""
    lines = max(1, -(-max(len(example.versions) for example in shown) // columns))
    side = _length(lines, CELL, GAP)
    start = MARGIN + side + 3 * GAP
    height = TITLE_HEIGHT + GAP // 2 + side
    sheet = _sheet(start - MARGIN + _length(columns, CELL, GAP), _length(len(shown), height, BLOCK_GAP))
    for number, example in enumerate(shown):
        top = MARGIN + number * (height + BLOCK_GAP)
        end = _write(sheet, example.title, MARGIN, top, TITLE, INK, sheet.width // 2)
        _write(sheet, example.detail, end + 2 * GAP, top + TITLE - DETAIL, DETAIL, FADED, sheet.width // 3)
        top += TITLE_HEIGHT + GAP // 2
        _put(sheet, example.image, MARGIN, top, side)
        for (row, column), version in zip(_places(columns), example.versions, strict=False):
            _put(sheet, version, start + column * (CELL + GAP), top + row * (CELL + GAP), CELL)
    return _png(sheet)


def _places(columns: int) -> Iterator[tuple[int, int]]:
    """Row and column of the first, second, ... cell, without end."""
    number = 0
    while True:
        yield divmod(number, columns)
        number += 1


def _length(count: int, size: int, gap: int) -> int:
    return count * size + (count - 1) * gap


def _sheet(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), PAPER)


def _put(sheet: Image.Image, picture: Picture, left: int, top: int, side: int) -> None:
    """In the middle of a square panel, as large as it fits; small pictures keep their pixels visible."""
    ImageDraw.Draw(sheet).rectangle((left, top, left + side - 1, top + side - 1), PANEL)
    image = Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    shown = image.resize((width, height), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    sheet.paste(shown.convert("RGB"), (left + (side - width) // 2, top + (side - height) // 2))


def _write(sheet: Image.Image, text: str, left: int, top: int, size: int, colour: str, width: int) -> int:
    """Text of at most that width, shortened if need be, in one line. Returns where it ends."""
    font = ImageFont.truetype(FONT, size)
    text = " ".join(text.split())
    kept = text
    while kept and font.getlength(kept) > width:
        text = text[:-1]
        kept = text.rstrip() + "…"
    ImageDraw.Draw(sheet).text((left, top), kept, colour, font)
    return left + round(font.getlength(kept))


def _png(sheet: Image.Image) -> bytes:
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    return content.getvalue()
