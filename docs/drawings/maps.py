"""LeNet: the first layer's kernels after training, and what they make of a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cnn_tf import scratch
from docs.drawings.padding import BOOT
from docs.drawings.sheet import MUTED, Sheet

STEPS = 2340  # five epochs
NAMES = ("kernel 5x5", "map 28x28", "map 14x14")
NOTES = ("red above 0,\ngrey below", "after the\nsigmoid", "after the\naverage pooling")


def measure() -> dict[str, Any]:
    """The trained first layer: kernels (6, 1, 5, 5), biases (6,); and the network's accuracy on the test split."""
    import keras

    import cnn_tf
    from docs.drawings import training

    print(f"lenet_maps: lenet5, {STEPS} steps", flush=True)
    model, _ = training.fit(partial(cnn_tf.build, "lenet5"), keras.optimizers.Adam(0.002), STEPS)
    kernels, biases = (np.asarray(values, np.float64) for values in model.get_layer("stage1_conv").get_weights())
    return {
        "kernels": kernels.transpose(3, 2, 0, 1).round(3).tolist(),
        "biases": biases.round(3).tolist(),
        "test_accuracy": round(training.accuracy(model), 4),
    }


def draw(measured: dict[str, Any]) -> Figure:
    """A column a kernel: its weights, its map of the boot, and the map pooled."""
    kernels, biases = np.array(measured["kernels"]), np.array(measured["biases"])
    x = BOOT[np.newaxis]
    convolved = scratch.conv2d(x, kernels, biases, padding=((2, 2), (2, 2)))
    activated = 1 / (1 + np.exp(-convolved))
    pooled = scratch.average_pool2d(activated, (2, 2))
    sheet, side = Sheet(984, 456), 100.0
    sheet.title(
        "What a trained LeNet sees first",
        "Six kernels, and what each makes of the same boot: red is more than on white paper, grey is less.",
    )
    sheet.picture((30, 246), BOOT, 120, (0, 1), label="picture 28x28")
    limit = float(np.abs(kernels).max())
    paper = 1 / (1 + np.exp(-biases))
    for number, blank in enumerate(paper):
        left = 306 + 110 * number
        sheet.signed((left, 84), kernels[number, 0], side, limit)
        difference = activated[number] - blank
        reach = float(np.abs(difference).max())
        sheet.signed((left, 206), difference, side, reach)
        sheet.signed((left, 328), pooled[number] - blank, side, reach)
    for top, name, note in zip((84, 206, 328), NAMES, NOTES, strict=True):
        sheet.text((292, top + 30), name, ha="right", weight="bold")
        sheet.text((292, top + 62), note, ha="right", color=MUTED)
    return sheet.figure


def table(measured: dict[str, Any]) -> list[list[str]]:
    """The accuracy alone."""
    return [["network", "test accuracy"], ["`lenet5`", f"{100 * measured['test_accuracy']:.1f} %"]]
