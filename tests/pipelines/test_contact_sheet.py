from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageColor, ImageFont

from pipelines import contact_sheet, manifest
from pipelines.config import AugmentConfig, DataConfig, TrainConfig
from pipelines.contact_sheet import CELL, Example

COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "<b>blue [1]": (0, 0, 200)}


def opened(sheet):
    return np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))


def pixels_of(sheet, colour):
    return int((opened(sheet) == colour).all(axis=-1).sum())


def flat(colour, height=20, width=20):
    return np.full((height, width, 3), colour, np.uint8)


@pytest.fixture(scope="module")
def data():
    """Thirty pictures, sorted by class, each with the left half black."""
    images = np.stack([flat(colour) for colour in COLOURS.values()]).repeat(10, axis=0)
    images[:, :, :10] = 0
    return manifest.from_arrays("colours", list(COLOURS), {"train": (images, np.arange(3).repeat(10))})


def test_a_grid_shows_every_picture_as_large_as_it_fits():
    shown = [Example(flat(colour), name, "0123456789abcdef") for name, colour in COLOURS.items()]
    sheet = contact_sheet.draw(shown, columns=2)
    assert [pixels_of(sheet, colour) for colour in COLOURS.values()] == [CELL**2] * 3
    wide = contact_sheet.draw([Example(flat(COLOURS["red"], 10, 40), "wide")], columns=5)
    assert pixels_of(wide, COLOURS["red"]) == CELL * CELL // 4
    assert pixels_of(wide, ImageColor.getrgb(contact_sheet.PANEL)) >= CELL * CELL * 3 // 4


@pytest.mark.parametrize("versions", [1, 4, 5, 8])
def test_versions_stand_beside_their_original(versions):
    example = Example(flat(COLOURS["red"]), "red", "id", [flat(COLOURS["green"])] * versions)
    sheet = contact_sheet.draw([example, example], columns=4)
    lines = -(-versions // 4)
    side = lines * CELL + (lines - 1) * contact_sheet.GAP
    assert pixels_of(sheet, COLOURS["red"]) == 2 * side**2
    assert pixels_of(sheet, COLOURS["green"]) == 2 * versions * CELL**2


@pytest.mark.parametrize("title", ["", "two\nlines", "Grüße, Ελλάς", "very " * 100])
def test_titles_stay_in_their_cell(title):
    """Nothing is written into the margin, and the sheet is as large as with any other title."""
    sheet = opened(contact_sheet.draw([Example(flat(COLOURS["red"]), title, title)] * 2, columns=2))
    margin = np.concatenate(
        (sheet[:, -contact_sheet.MARGIN :].reshape(-1, 3), sheet[-contact_sheet.MARGIN :].reshape(-1, 3))
    )
    assert (margin == ImageColor.getrgb(contact_sheet.PAPER)).all()
    assert sheet.shape == opened(contact_sheet.draw([Example(flat(COLOURS["red"]), "short")] * 2, columns=2)).shape


def test_grey_and_tiny_pictures_are_shown():
    grey = np.full((1, 3, 1), 77, np.uint8)
    assert (
        pixels_of(contact_sheet.draw([Example(grey, "grey", "", [grey])], columns=1), (77,) * 3) == 2 * CELL * CELL // 3
    )


def test_examples_are_spread_over_a_sorted_split(data):
    positions = contact_sheet.choose(len(data.splits["train"]), 3)
    shown = contact_sheet.examples(data, "train", positions)
    assert [example.title for example in shown] == ["red", "green", "<b>blue [1]"]
    assert [example.detail for example in shown] == ["train-00000", "train-00014", "train-00029"]
    for example in shown:
        np.testing.assert_array_equal(example.image[0, -1], COLOURS[example.title])
    assert contact_sheet.choose(2, 8).tolist() == [0, 1]


def test_versions_are_what_the_configuration_makes(data):
    config = TrainConfig(augment=AugmentConfig(flip=True))
    (example,) = contact_sheet.augmented(data, "train", [12], config)
    flipped = example.image[:, ::-1]
    sides = [np.array_equal(version, flipped) for version in example.versions]
    assert len(sides) == contact_sheet.VERSIONS
    assert 0 < sum(sides) < len(sides)
    assert all(
        np.array_equal(version, example.image)
        for version, other in zip(example.versions, sides, strict=True)
        if not other
    )
    again = contact_sheet.augmented(data, "train", [12], config)[0].versions
    np.testing.assert_array_equal(again, example.versions)
    other = contact_sheet.augmented(data, "train", [12], TrainConfig(seed=1, augment=AugmentConfig(flip=True)))[
        0
    ].versions
    assert not np.array_equal(other, example.versions)


def test_windows_and_the_networks_size_are_seen(data):
    config = TrainConfig(
        data=DataConfig(input_shape="6x8x3"), augment=AugmentConfig(random_resized_crop=True, crop_area=(0.02, 0.1))
    )
    (example,) = contact_sheet.augmented(data, "train", [0], config)
    assert {version.shape for version in example.versions} == {(6, 8, 3)}
    black = [(version == 0).all() for version in example.versions]
    assert 0 < sum(black) < contact_sheet.VERSIONS


def test_neighbours_are_mixed(data):
    config = TrainConfig(augment=AugmentConfig(mixup=4.0))
    first, _ = contact_sheet.augmented(data, "train", [0, 15], config)
    assert all((version[0, -1, :2] > 0).all() for version in first.versions)  # red and green


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data/colours, whose pictures lie elsewhere."""
    folder = tmp_path_factory.mktemp("place")
    rows = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        Image.fromarray(flat(colour)).save(folder / f"{number}.png")
        row = dict.fromkeys(manifest.SCHEMA.names) | {"id": f"id{number}", "path": f"{number}.png", "label": name}
        rows.append(row | {"split": "train", "width": 20, "height": 20, "mode": "RGB", "bytes": 99, "weight": 1.0})
    facts = {"name": "colours", "class_names": list(COLOURS), "sharded": False, "root": str(folder)}
    manifest.write(folder / "data" / "colours", pa.Table.from_pylist(rows, manifest.SCHEMA), facts)
    return folder


def show(place, *arguments):
    import typer
    from typer.testing import CliRunner

    from cnn_tf import console
    from pipelines.data_commands import show as command

    app = typer.Typer()
    app.command()(console.reporting_errors(command))
    options = ("--data", str(place / "data"), "--output", str(place / "sheet.png"))
    return CliRunner().invoke(app, [*arguments, *options])


@pytest.mark.parametrize(
    ("options", "augmented"),
    [
        ((), False),
        (("--count", "1"), False),
        (("--augment",), True),
        (("--preset", "fashion_mnist"), True),
        (("-s", "augment.rotation=10"), True),
    ],
)
def test_the_command_writes_a_sheet(place, options, augmented):
    result = show(place, "colours", *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    sheet = (place / "sheet.png").read_bytes()
    side = 2 * CELL + contact_sheet.GAP if augmented else CELL
    assert pixels_of(sheet, COLOURS["red"]) >= side**2
    assert (pixels_of(sheet, COLOURS["<b>blue [1]"]) == 0) == ("--count" in options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("colours", "--split", "test"), "Unknown split 'test'. Expected one of: train."),
        (("colors",), "There is no data set 'colors' in"),
        (("colours", "--set", "augment.flop=true"), "Did you mean 'augment.flip'?"),
        (("colours", "--preset", "nothing"), "Unknown preset 'nothing'."),
    ],
)
def test_wrong_use_is_told_in_a_line(place, arguments, message):
    result = show(place, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_names_beyond_english_have_letters():
    """A font that lacks a letter draws a box for it, the same for all."""
    drawn = [ImageFont.truetype(contact_sheet.FONT, 20).getmask(letter) for letter in "üéжλ"]
    assert len({bytes(mask) for mask in drawn}) == 4
