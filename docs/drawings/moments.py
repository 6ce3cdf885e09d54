"""批量归一化: how small gradients get on their way down, and a channel's values before and after normalising."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cnn_tf import scratch
from cnn_tf.scratch import Array
from docs.drawings.sheet import ACCENT, INK, MUTED, Sheet, bars

LAYERS, UNITS = 5, 64
GAMMA, BETA = np.array([2.0, 0.5]), np.array([3.0, -2.0])
RANGE = (-6.0, 14.0)


def draw_gradients() -> Figure:
    """The gradients of five layers, as parts of the top one's."""
    sizes = gradients(LAYERS, UNITS)
    sheet = Sheet(760, 290)
    sheet.title(
        "The nearer to the data, the smaller the gradient",
        f"{LAYERS} dense layers of {UNITS} units with sigmoids, before training: mean size, as a part of the top layer's.",
    )
    places = {0: " (at the data)", LAYERS - 1: " (at the loss)"}
    rows = []
    for layer in reversed(range(LAYERS)):
        share = sizes[layer] / sizes[-1]
        rows.append(
            (f"layer {layer + 1}{places.get(layer, '')}", share, f"{share:.2g}", ACCENT if share < 0.1 else MUTED)
        )
    bars(sheet, (24, 84), rows, 460, 160)
    return sheet.figure


def gradients(layers: int, units: int) -> list[float]:
    """The mean absolute gradient of each layer's weights, the lowest first; the loss is the mean square of the outputs."""
    random = np.random.default_rng(0)
    weights = [random.normal(0, np.sqrt(1 / units), (units, units)) for _ in range(layers)]
    values = [random.uniform(0, 1, (128, units))]
    for each in weights:
        values.append(1 / (1 + np.exp(-values[-1] @ each)))
    sizes, slope = [], values[-1] / len(values[-1])
    for below, above, each in reversed(list(zip(values, values[1:], weights, strict=False))):
        slope = slope * above * (1 - above)
        sizes.append(float(abs(below.T @ slope).mean()))
        slope = slope @ each.T
    return sizes[::-1]


def draw_moments() -> Figure:
    """Two channels: as they come, normalised, and with gamma and beta."""
    x, start = batch(), scratch.Moments(np.zeros(2), np.ones(2))
    plain, _ = scratch.batch_norm_training(x, np.ones(2), np.zeros(2), start)
    scaled, _ = scratch.batch_norm_training(x, GAMMA, BETA, start)
    sheet = Sheet(880, 320)
    sheet.title(
        "Two channels before and after batch normalisation",
        "How often each value is there, over 64 pictures of 8x8: channel 1 in grey, channel 2 in red.",
    )
    panels = {"before": x, "normalised": plain, "times γ (2 and 0.5), plus β (3 and -2)": scaled}
    for number, (name, values) in enumerate(panels.items()):
        _panel(sheet, 40 + 284 * number, name, values)
    return sheet.figure


def batch() -> Array:
    """(64, 2, 8, 8): the first channel around 6, the second narrow, around -3."""
    random = np.random.default_rng(0)
    return np.stack([random.normal(6, 2.5, (64, 8, 8)), random.normal(-3, 0.8, (64, 8, 8))], axis=1)


def _panel(sheet: Sheet, left: float, name: str, values: Array) -> None:
    """Both channels' histograms, and their means and deviations below."""
    sheet.text((left, 84), name, ha="left", weight="bold", color=INK)
    axes = sheet.chart((left, 100), (240, 130))
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set(xlim=RANGE, ylim=(0, 0.9), yticks=[])
    for channel, colour in enumerate((MUTED, ACCENT)):
        of_one = values[:, channel]
        axes.hist(of_one.ravel(), bins=100, range=RANGE, color=colour, alpha=0.6, density=True)
        text = f"channel {channel + 1}: mean {of_one.mean():.1f}, deviation {of_one.std():.1f}"
        sheet.text((left, 270 + 20 * channel), text.replace("-0.0", "0.0"), ha="left", color=colour)
