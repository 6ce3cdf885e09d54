"""Makes the golden vectors that test_weights.py compares with: logits of torchvision's and timm's networks.

    pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    python tests/cnn_tf/golden/make.py [NETWORK ...]    # default: those that are kept here

No weights are kept: both sides fill the arrays by the same formula (fill.py). Weights as torch starts with would make deep
networks answer with little but their last bias; these keep the variance, so a wrong padding or epsilon shows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from fill import SIZES, fill, pictures

FOLDER = Path(__file__).parent
CLASSES = 50
# Of torchvision's published weights; timm's networks tell theirs.
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

# our name -> library, its name, gain of the kernels: 2 keeps the variance through ReLUs, less makes up for shortcuts.
NETWORKS = {
    "alexnet": ("torchvision", "alexnet", 2.0),
    **{f"vgg{n}{bn}": ("torchvision", f"vgg{n}{bn}", 2.0) for n in (11, 13, 16, 19) for bn in ("", "_bn")},
    "googlenet": ("torchvision", "googlenet", 2.0),
    **{f"resnet{n}": ("torchvision", f"resnet{n}", 1.0) for n in (18, 34, 50)},
    **{f"resnet{n}": ("torchvision", f"resnet{n}", 0.7) for n in (101, 152)},
    "resnext50": ("torchvision", "resnext50_32x4d", 1.0),
    "wide_resnet50": ("torchvision", "wide_resnet50_2", 1.0),
    "resnet50_v2": ("timm", "resnetv2_50", 1.3),
    "densenet121": ("torchvision", "densenet121", 2.0),
    "mobilenet_v2": ("torchvision", "mobilenet_v2", 1.5),
    "mobilenet_v3_small": ("torchvision", "mobilenet_v3_small", 2.0),
    "convnext_tiny": ("torchvision", "convnext_tiny", 1.0),
}


def main(names: list[str]) -> None:
    for name in names or sorted(path.stem for path in FOLDER.glob("*.json")):
        library, theirs, gain = NETWORKS[name]
        network = create(library, theirs)
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items() if value.ndim}
        arrays = {key: torch.from_numpy(value) for key, value in fill(shapes, gain).items()}
        network.load_state_dict(arrays, strict=False)
        logits = {f"{h}x{w}": ask(network, pictures(h, w)) for h, w in SIZES}
        golden = {"made_with": f"{library} {sys.modules[library].__version__}, torch {torch.__version__}: {theirs}"}
        golden |= {"gain": gain, "shapes": shapes, "logits": logits}
        lines = ",\n".join(f'"{key}": {json.dumps(value)}' for key, value in golden.items())
        (FOLDER / f"{name}.json").write_text("{\n" + lines + "\n}\n")


def create(library: str, name: str) -> torch.nn.Module:
    if library == "timm":
        return timm.create_model(name, num_classes=CLASSES).eval()
    # GoogLeNet as its published weights want it: with auxiliary heads, and its own scaling of the usual input.
    settings = {"transform_input": True, "init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, num_classes=CLASSES, **settings).eval()


@torch.no_grad()
def ask(network: torch.nn.Module, images: np.ndarray) -> list[list[float]]:
    scaling = getattr(network, "pretrained_cfg", IMAGENET)
    x = (images / 255 - scaling["mean"]) / scaling["std"]
    output = network(torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2))
    return [[float(f"{value:.8g}") for value in row] for row in output.tolist()]


main(sys.argv[1:])
