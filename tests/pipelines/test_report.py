"""The report: whole, self-contained, and unshaken by whatever a training hands over."""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import UsageError
from pipelines.reports.figures import Mistake, percent, tile
from pipelines.reports.training import summarize, wilson_interval, write_report

FIGURES = ("training_curves.png", "confusion_matrix.png", "worst_mistakes.png")
NAMES = ("coat", "shirt", "bag")
MATRIX = ((90, 7, 3), (15, 80, 5), (0, 0, 100))


def evaluate(matrix: Any = MATRIX, names: Any = NAMES) -> dict[str, Any]:
    counts = np.asarray(matrix)
    shares = np.diag(counts) / np.maximum(counts.sum(axis=1), 1)
    return {
        "split": "test",
        "examples": int(counts.sum()),
        "loss": 0.27,
        "accuracy": float(np.trace(counts) / counts.sum()),
        "class_names": list(names),
        "confusion_matrix": counts.tolist(),
        "per_class": [
            {"name": name, "precision": share, "recall": share, "f1": share, "examples": 100}
            for name, share in zip(names, shares, strict=True)
        ],
    }


def history(epochs: int = 3, **more: float) -> list[dict[str, float]]:
    return [{"epoch": e, "loss": 1 / e, "accuracy": 1 - 0.5 / e, **more} for e in range(1, epochs + 1)]


def mistake(height: int = 28, width: int = 28, channels: int = 1, **more: Any) -> Mistake:
    image = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return Mistake(**{"image": image, "index": 4123, "label": 0, "predicted": 1, "probability": 0.97, **more})


def write(folder: Path, **more: Any) -> str:
    """The page of a report, a small one unless told otherwise."""
    small = {"title": "LeNet", "history": [], "evaluation": evaluate(), "mistakes": [], "facts": {}}
    return write_report(folder, **{**small, **more}).read_text("utf-8")


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<style>.*</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "new" / "report"
    validated = history(validation_loss=0.5, validation_accuracy=0.8, learning_rate=1e-3)
    write(folder, history=validated, mistakes=[mistake()] * 60, facts={"Model": "lenet", "Seed": "7"})
    return folder


@pytest.fixture(scope="module")
def page(full: Path) -> str:
    return (full / "index.html").read_text("utf-8")


def test_writes_its_files_and_nothing_else(full: Path) -> None:
    assert {path.name for path in full.iterdir()} == {*FIGURES, "index.html"}
    assert [path.name for path in full.parent.iterdir()] == ["report"]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_large_enough_and_not_blank(full: Path, name: str) -> None:
    with Image.open(full / name) as picture:
        assert picture.format == "PNG"
        assert 800 <= picture.width <= 3000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20


def test_page_needs_no_other_file(page: str) -> None:
    sources = re.findall(r"""(?:src|srcset|href)\s*=\s*["']([^"']*)""", page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


def test_page_tells_what_was_measured(page: str) -> None:
    text = text_of(page)
    for part in ("LeNet 90.0 % of 300 test examples", "Model lenet Seed 7", "shirt taken for coat : 15 times"):
        assert part in text


def test_weakest_class_comes_first(page: str) -> None:
    assert re.findall(r'<th scope="row">(\w+)', page) == ["shirt", "coat", "bag"]


def test_shows_48_mistakes_and_describes_each_picture(page: str) -> None:
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 48 + 2
    assert all(re.search(r'alt="[^"]+"', image) for image in images)


def test_names_of_users_are_text_not_markup(tmp_path: Path) -> None:
    names = ("<b>bold</b>", 'a "$5" or $10 & more, $', "犬")
    page = write(tmp_path / "report", title="<i>x</i>", facts={"<u>": "</dd>"}, evaluation=evaluate(names=names))
    assert not re.search(r"<b>bold|<i>x|<u>", page)
    for text in ("&lt;b&gt;bold&lt;/b&gt;", "&lt;i&gt;x&lt;/i&gt;", "&lt;u&gt;", "犬"):
        assert text in page


def test_without_history_and_mistakes(tmp_path: Path) -> None:
    text = text_of(write(tmp_path / "report", evaluation=evaluate(np.diag([5, 4, 0]), ("a", "", " "))))
    assert "No history was recorded" in text
    assert "Every example was classified correctly" in text
    assert all((tmp_path / "report" / name).stat().st_size for name in FIGURES)


def test_diverged_training(tmp_path: Path) -> None:
    rows = history(validation_loss=float("nan"), learning_rate=float("inf"))
    evaluation = evaluate()
    evaluation["per_class"][1] |= {"precision": float("nan"), "f1": None}
    text = text_of(write(tmp_path / "report", history=rows, evaluation=evaluation))
    assert "shirt – –" in text
    assert "No pictures of the mistakes were kept" in text  # rather than that there was none


def test_hundred_classes_stay_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.reports.figures.SCALE", 1)  # a quarter of the dots, and of the time
    matrix = np.random.default_rng(0).integers(0, 3, (100, 100)) + np.diag([80] * 100)
    names = ["a class with a rather long name, longer than there is room", *map(str, range(99))]
    page = write(tmp_path / "report", evaluation=evaluate(matrix, names))
    assert {*re.findall(r'<th scope="row">(.+?)</th>', page)} == {*names}
    with Image.open(tmp_path / "report" / "confusion_matrix.png") as picture:
        assert 920 <= max(picture.size) <= 1300


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (224, 224, 3), (48, 96, 3), (500, 20, 1)])
def test_pictures_of_any_shape_fill_a_tile(height: int, width: int, channels: int) -> None:
    picture = tile(mistake(height, width, channels).image)
    assert max(picture.size) == 224
    assert picture.mode == ("L" if channels == 1 else "RGB")
    assert picture.height / picture.width == pytest.approx(height / width, rel=0.15)


def test_small_pictures_keep_their_pixels() -> None:
    image = mistake(channels=3).image
    np.testing.assert_array_equal(np.asarray(tile(image)), image.repeat(8, axis=0).repeat(8, axis=1))


def test_pictures_in_colour(tmp_path: Path) -> None:
    write(tmp_path / "report", mistakes=[mistake(224, 224, 3), mistake(32, 32, 3, probability=1.0)])
    with Image.open(tmp_path / "report" / "worst_mistakes.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 10_000


def test_replaces_the_old_report_as_a_whole(tmp_path: Path, full: Path) -> None:
    shutil.copytree(full, tmp_path / "report")
    (tmp_path / "report" / "left.png").touch()
    assert "LeNet" not in write(tmp_path / "report", title="new")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {*FIGURES, "index.html"}
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_failure_leaves_the_old_report(tmp_path: Path, full: Path, page: str) -> None:
    shutil.copytree(full, tmp_path / "report")
    with pytest.raises(IndexError):
        write(tmp_path / "report", mistakes=[mistake(label=99)])
    assert (tmp_path / "report" / "index.html").read_text("utf-8") == page
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_refuses_a_folder_that_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="something other than a report"):
        write(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_refuses_a_matrix_of_other_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be \(3, 3\).*Received: \(2, 2\)"):
        write(tmp_path / "report", evaluation={**evaluate(), "confusion_matrix": [[1, 0], [0, 1]]})


def test_summary_counts_and_orders_confusions() -> None:
    summary = summarize(np.asarray(MATRIX), NAMES)
    assert (summary["total"], summary["mistakes"]) == (300, 30)
    assert summary["confusions"][:2] == [("shirt", "coat", 15, 0.15), ("coat", "shirt", 7, 0.07)]
    assert all(true != predicted and count for true, predicted, count, _ in summary["confusions"])


@pytest.mark.parametrize(("correct", "low", "high"), [(0, 0.0, 0.037), (50, 0.404, 0.596), (100, 0.963, 1.0)])
def test_wilson_interval(correct: int, low: float, high: float) -> None:
    assert wilson_interval(correct, 100) == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.912, 1, "91.2 %"), (0.97, 0, "97 %"), (0.9996, 0, ">99 %"), (0.99996, 1, ">99.9 %"), (1.0, 1, "100.0 %")],
)
def test_percent_never_rounds_up_to_all(share: float, digits: int, text: str) -> None:
    assert percent(share, digits) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_does_not_load_tensorflow() -> None:
    code = "import sys, pipelines.reports.training as _; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "cnn_tf", "serving"} & set(loaded)
