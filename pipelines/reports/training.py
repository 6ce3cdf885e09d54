"""The report of a training: its pictures, and all of it as one HTML page."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import UsageError
from pipelines.files import ASIDE
from pipelines.reports import figures, page
from pipelines.reports.figures import Mistake

MAX_MISTAKES = 48
MAX_CONFUSIONS = 8

# key of the history -> heading and format of its column
EPOCH_COLUMNS = {
    "epoch": ("Epoch", "{:.0f}"),
    "loss": ("Loss", "{:.4f}"),
    "validation_loss": ("Validation loss", "{:.4f}"),
    "accuracy": ("Accuracy", "{:.2%}"),
    "validation_accuracy": ("Validation accuracy", "{:.2%}"),
    "learning_rate": ("Learning rate", "{:.2e}"),
    "seconds": ("Seconds", "{:,.1f}"),
    "examples_per_second": ("Examples per second", "{:,.0f}"),
}


def write_report(
    folder: Path,
    *,
    title: str,
    history: Sequence[Mapping[str, float]],
    evaluation: Mapping[str, Any],
    mistakes: Sequence[Mistake],
    facts: Mapping[str, str],
) -> Path:
    """Writes training_curves.png, confusion_matrix.png, worst_mistakes.png and a self-contained index.html.

    `folder` is replaced as a whole by one written aside. `mistakes` come worst first; the first 48 are shown.
    Returns the path of index.html.
    """
    _check(folder, evaluation)
    names = [" ".join(str(name).split()) for name in evaluation["class_names"]]
    matrix = np.asarray(evaluation["confusion_matrix"], np.int64)
    shown = mistakes[:MAX_MISTAKES]
    curves = [figures.png(palette, figures.draw_curves, history) for palette in (figures.LIGHT, figures.DARK)]
    confusion = [figures.png(palette, figures.draw_matrix, matrix, names) for palette in (figures.LIGHT, figures.DARK)]
    context: dict[str, Any] = {"title": title, "facts": facts, "evaluation": evaluation, "names": names}
    context |= {"epochs": epoch_table(history), "summary": summarize(matrix, names), "curves": curves}
    context |= {"confusion": confusion, "mistakes": [(one, figures.encode(figures.tile(one.image))) for one in shown]}
    context["classes"] = sorted(evaluation["per_class"], key=lambda row: figures.finite(row["f1"]) or 0.0)
    files = {"training_curves.png": curves[0], "confusion_matrix.png": confusion[0]}
    files |= {
        "worst_mistakes.png": figures.png(figures.LIGHT, figures.draw_mistakes, shown, names),
        "index.html": page.render("training.html.jinja", **context).encode(),
    }
    _replace(folder, files)
    return folder / "index.html"


def summarize(matrix: npt.NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """Counts, shares and the most frequent confusions of a confusion `matrix`: row true, column predicted class."""
    total, correct = int(matrix.sum()), int(np.trace(matrix))
    rows, wrong = matrix.sum(axis=1), matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_CONFUSIONS]
    pairs = [divmod(int(flat), len(names)) for flat in order]
    return {
        "total": total,
        "mistakes": total - correct,
        "interval": wilson_interval(correct, total),
        "largest": (names[int(rows.argmax())], rows.max() / max(total, 1)),
        "confusions": [(names[i], names[j], int(wrong[i, j]), wrong[i, j] / rows[i]) for i, j in pairs if wrong[i, j]],
    }


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share; unlike the textbook one it stays within 0..1 and works for perfect models."""
    z2 = 1.96**2
    centre = (correct + z2 / 2) / (total + z2)
    spread = math.sqrt(z2 * correct * (total - correct) / max(total, 1) + z2 * z2 / 4) / (total + z2)
    return centre - spread, centre + spread


def epoch_table(history: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """The history as text, headings first, only the columns that it has. Empty for an empty history."""
    columns = {key: column for key, column in EPOCH_COLUMNS.items() if any(key in row for row in history)}
    body = [[form.format(row[key]) if key in row else "–" for key, (_, form) in columns.items()] for row in history]
    return [[heading for heading, _ in columns.values()], *body] if body else []


def _check(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Refuses what could not be drawn, and to replace a folder that is no report."""
    names, shape = evaluation["class_names"], np.shape(evaluation["confusion_matrix"])
    if not names or shape != (len(names), len(names)):
        raise ValueError(f"confusion_matrix must be ({len(names)}, {len(names)}), as class_names. Received: {shape}.")
    if folder.exists() and any(folder.iterdir()) and not (folder / "confusion_matrix.png").exists():
        raise UsageError(f"{folder} holds something other than a report. Pass a new folder, or empty this one.")


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files aside and puts them in the place of `folder`, so that nobody sees half a report."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=ASIDE, dir=folder.parent) as aside:
        fresh = Path(aside, "fresh")
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if folder.exists():
            folder.rename(Path(aside, "replaced"))
        fresh.rename(folder)
