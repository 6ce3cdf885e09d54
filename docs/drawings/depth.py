"""ResNet: deep plain networks learn worse than shallow ones; residual ones do not."""

from __future__ import annotations

from functools import partial
from typing import Any

from matplotlib.figure import Figure

from docs.drawings.sheet import ACCENT, MUTED, Sheet, end_label, losses

STEPS = 600
RATE = 0.02
DEPTHS = (20, 56)


def measure() -> dict[str, Any]:
    """Name -> the curve of its training: the paper's CIFAR networks with half the filters, on pictures halved by the stem."""
    import keras

    from cnn_tf import blocks, resnet
    from docs.drawings import training

    def stem(x: blocks.Tensor) -> blocks.Tensor:
        """(B, 28, 28, 1) -> (B, 14, 14, 8)."""
        return blocks.conv_bn(x, 8, 3, 2, name="stem")

    curves = {}
    for kind, block in (("plain", resnet.plain), ("resnet", resnet.basic_padded)):
        for depth in DEPTHS:
            name = f"{kind}{depth}"
            row = resnet.ResNet(block, ((depth - 2) // 6,) * 3, stem)
            resnet.CIFAR_RESNETS[f"{name}_narrow"] = row
            print(f"depth: {name}, {STEPS} steps", flush=True)
            _, curve = training.fit(
                partial(resnet.resnet, f"{name}_narrow", (28, 28, 1), 10),
                keras.optimizers.SGD(RATE, momentum=0.9),
                STEPS,
            )
            curves[name] = curve._asdict()
    return curves


def draw(measured: dict[str, Any]) -> Figure:
    """The training losses, plain at the left, residual at the right."""
    sheet = Sheet(880, 346)
    sheet.title(
        "Deeper is worse, unless there is a shortcut",
        "Training loss, means over 25 steps: 20 layers in grey, 56 in red.",
    )
    for kind, heading, left in (("plain", "Plain networks", 60), ("resnet", "Residual networks", 500)):
        sheet.text((left, 82), heading, ha="left", weight="bold", size=12)
        axes = sheet.lines((left, 100), (270, 190), across="step")
        axes.set(xlim=(0, STEPS), ylim=(0, 3))
        ends = {}
        for depth, colour in zip(DEPTHS, (MUTED, ACCENT), strict=True):
            curve = measured[f"{kind}{depth}"]
            losses(axes, curve, colour)
            ends[depth] = (last_mean(curve, "losses"), colour)
        low, high = sorted(ends, key=lambda depth: ends[depth][0])
        ends[high] = (max(ends[high][0], ends[low][0] + 0.24), ends[high][1])
        for depth, (height, colour) in ends.items():
            text = f"{depth} layers {last_mean(measured[f'{kind}{depth}'], 'losses'):.2f}"
            end_label(axes, height, text, colour)
    return sheet.figure


def table(measured: dict[str, Any]) -> list[list[str]]:
    """Loss and share of wrong answers in training, over the last 100 steps."""
    rows = [["network", "training loss", "training error"]]
    for name, curve in measured.items():
        rows.append([f"`{name}`", f"{last_mean(curve, 'losses'):.2f}", f"{100 * last_mean(curve, 'errors'):.1f} %"])
    return rows


def last_mean(curve: dict[str, Any], key: str, steps: int = 100) -> float:
    """Mean of the last `steps` steps."""
    values = curve[key][-(steps // curve["every"]) :]
    return float(sum(values) / len(values))
