"""Makes the golden answers that test_transforms.py compares with: torchvision's resized and cropped pictures.

pip install torch==2.14.1 torchvision==0.29.1
python tests/pipelines/golden/transforms.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from photo import photo
from torchvision.transforms import InterpolationMode, v2

# height, width -> size of a square
SIZES = ((40, 61, 16), (61, 40, 16), (97, 55, 32), (33, 33, 24), (9, 14, 24), (12, 200, 20))


def main() -> None:
    answers = {}
    for height, width, size in SIZES:
        image = torch.from_numpy(photo(height, width)).permute(2, 0, 1)
        for name in ("bilinear", "bicubic"):
            resize = {"interpolation": InterpolationMode(name), "antialias": True}
            stretch = v2.Resize((size, size), **resize)
            crop = v2.Compose([v2.Resize(size, **resize), v2.CenterCrop(size)])
            for how, transform in (("stretch", stretch), ("crop", crop)):
                answers[f"{height} {width} {size} {how} {name}"] = transform(image).permute(1, 2, 0).numpy()
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **answers)


if __name__ == "__main__":
    main()
