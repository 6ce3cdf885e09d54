"""批量归一化: LeNet's training with and without it, at a small and at a large learning rate."""

from __future__ import annotations

from functools import partial
from typing import Any

from matplotlib.figure import Figure

from docs.drawings.sheet import ACCENT, MUTED, Sheet, end_label, losses

STEPS = 2340  # five epochs
RATES = (0.1, 1.0)
MODELS = {"lenet5": MUTED, "lenet5_bn": ACCENT}


def measure() -> dict[str, Any]:
    """MODEL at RATE -> the curve of its training, and its accuracy on the test split."""
    import keras

    import cnn_tf
    from docs.drawings import training

    results = {}
    for rate in RATES:
        for name in MODELS:
            print(f"batch_norm: {name} at learning rate {rate}, {STEPS} steps", flush=True)
            model, curve = training.fit(partial(cnn_tf.build, name), keras.optimizers.SGD(rate), STEPS, 30)
            results[f"{name} at {rate}"] = {**curve._asdict(), "test_accuracy": round(training.accuracy(model), 4)}
    return results


def draw(measured: dict[str, Any]) -> Figure:
    """The training losses, a panel a learning rate."""
    sheet = Sheet(900, 346)
    sheet.title(
        "Batch normalisation makes LeNet learn at once",
        "Training loss, means over 30 steps: without it in grey, with it in red.",
    )
    for rate, left in zip(RATES, (60, 510), strict=True):
        sheet.text((left, 82), f"Learning rate {rate}", ha="left", weight="bold", size=12)
        axes = sheet.lines((left, 100), (260, 190), across="step")
        axes.set(xlim=(0, STEPS), ylim=(0, 2.5))
        for (name, colour), other in zip(MODELS.items(), ("without", "with"), strict=True):
            curve = measured[f"{name} at {rate}"]
            losses(axes, curve, colour)
            end_label(axes, curve["losses"][-1], f"{other} {_last(curve):.2f}", colour)
    return sheet.figure


def table(measured: dict[str, Any]) -> list[list[str]]:
    """Training loss over the last 90 steps, and accuracy on the test split."""
    rows = [["network", "learning rate", "training loss", "test accuracy"]]
    for key, curve in measured.items():
        name, rate = key.split(" at ")
        rows.append([f"`{name}`", rate, f"{_last(curve):.2f}", f"{100 * curve['test_accuracy']:.1f} %"])
    return rows


def _last(curve: dict[str, Any]) -> float:
    return float(sum(curve["losses"][-3:]) / 3)
