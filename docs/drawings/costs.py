"""What layers and networks cost, and how deep they are: dense layers, whole networks, an Inception block."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from cnn_tf import shapes
from cnn_tf.googlenet import INCEPTIONS, Inception
from cnn_tf.promises import PROMISES
from cnn_tf.resnet import RESNETS
from cnn_tf.vgg import VGGS
from docs.drawings.sheet import ACCENT, FILL, MUTED, Place, Sheet, bars

FIRST_DENSE = {
    "LeNet  16 · 5 · 5 → 120": shapes.dense_parameters(16 * 5 * 5, 120, use_bias=False),
    "AlexNet  256 · 5 · 5 → 4096": shapes.dense_parameters(256 * 5 * 5, 4096, use_bias=False),
    "VGG  512 · 7 · 7 → 4096": shapes.dense_parameters(512 * 7 * 7, 4096, use_bias=False),
    "NiN  has none": 0,
}

DEPTHS = {
    "AlexNet": 5 + 3,
    "VGG-19": sum(convolutions for convolutions, _ in VGGS["vgg19"].stages) + 3,
    "GoogLeNet": 3 + 2 * len(INCEPTIONS) + 1,  # each block's longest branch has two convolutions
    "ResNet-101": 1 + 3 * sum(RESNETS["resnet101"].num_blocks) + 1,
    "ResNet-152": 1 + 3 * sum(RESNETS["resnet152"].num_blocks) + 1,
}
"""Convolutions and dense layers on the longest way through, shortcuts aside."""

TOTALS = {"AlexNet, d2l.ai": "alexnet_d2l", "VGG-11": "vgg11", "NiN": "nin"}

INPUT = (28, 28, 192)
"""What the first Inception block is given: height, width, channels."""


def draw_first_dense() -> Figure:
    """The weights of the first dense layer behind the convolutions."""
    sheet = Sheet(800, 236)
    sheet.title("Where the parameters are", "Weights of the first dense layer behind the convolutions, without biases.")
    rows = [(name, count, f"{count:,}", ACCENT if count > 1e6 else MUTED) for name, count in FIRST_DENSE.items()]
    bars(sheet, (24, 84), rows, 420)
    return sheet.figure


def draw_totals() -> Figure:
    """What the whole networks have, with the classes of ImageNet."""
    sheet = Sheet(800, 204)
    sheet.title(
        "Without dense layers, few parameters are left", "Trainable parameters of the networks, with 1000 classes."
    )
    counts = {name: PROMISES[model].parameters_1000 for name, model in TOTALS.items()}
    rows = [(name, count, f"{count:,}", ACCENT if name == "NiN" else FILL) for name, count in counts.items()]
    bars(sheet, (24, 84), rows, 500, 130)
    return sheet.figure


def draw_deep() -> Figure:
    """How many layers GoogLeNet has, beside those before and after it."""
    sheet = Sheet(760, 276)
    sheet.title("GoogLeNet is 22 layers deep", "Layers with weights on the longest way from the picture to the scores.")
    rows = [(name, depth, str(depth), ACCENT if name == "GoogLeNet" else FILL) for name, depth in DEPTHS.items()]
    bars(sheet, (24, 84), rows, 520, 110)
    return sheet.figure


def draw_inception_cost() -> Figure:
    """Block 3a against one convolution that makes as many channels."""
    sheet = Sheet(880, 226)
    sheet.title(
        "An Inception block is cheaper than one convolution",
        "All three make 256 channels of the same 192, at 28x28 pixels.",
    )
    filters = INCEPTIONS["stage3_a"]
    counts = {"Inception 3a": (inception_weights(filters), ACCENT)}
    for size in (3, 5):
        weights = shapes.conv_parameters(size, INPUT[2], outputs(filters), use_bias=False)
        counts[f"one {size}x{size} convolution"] = (weights, FILL)
    height, width, _ = INPUT
    parameters = [(name, weights, f"{weights:,}", colour) for name, (weights, colour) in counts.items()]
    macs = [("", weights, f"{weights * height * width / 1e6:,.0f} M", colour) for weights, colour in counts.values()]
    _panel(sheet, (24, 112), "weights", parameters, 150)
    _panel(sheet, (490, 112), "multiply-adds per picture", macs, 0)
    return sheet.figure


def outputs(filters: Inception) -> int:
    """Channels that the four branches give together."""
    return filters.conv_1x1 + filters.conv_3x3 + filters.conv_5x5 + filters.pool_proj


def inception_weights(filters: Inception, channels: int = INPUT[2]) -> int:
    """Weights of the six convolutions, without biases."""
    convolutions = (
        (1, channels, filters.conv_1x1),
        (1, channels, filters.conv_3x3_reduce),
        (3, filters.conv_3x3_reduce, filters.conv_3x3),
        (1, channels, filters.conv_5x5_reduce),
        (5, filters.conv_5x5_reduce, filters.conv_5x5),
        (1, channels, filters.pool_proj),
    )
    return sum(shapes.conv_parameters(*convolution, use_bias=False) for convolution in convolutions)


def _panel(sheet: Sheet, at: Place, heading: str, rows: Sequence[tuple[str, float, str, str]], left: float) -> None:
    sheet.text((at[0] + left, at[1] - 22), heading, ha="left", color=MUTED)
    bars(sheet, at, rows, 200, left)
