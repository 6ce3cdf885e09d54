"""How fast training batches are made: as a share of what TensorFlow's JPEG decoder alone does, and beside other loaders.

python -m benchmarks.data [--torch-python PYTHON] [--pictures N] [--folder FOLDER]

All make batches of 32 pictures of 224x224x3 from the same files: random resized crop (area 0.08 to 1, ratio 3/4 to 4/3)
and mirroring; loaders.py tells each in full. Every measurement is a fresh process on all cores. Rounds go through all of
them one after the other, and each ratio is to the limit of its round, so that another load on the machine disturbs both
alike. Processor time is told too, which it disturbs less.

"first batch" counts from the loader's start, after imports, with all that is listed or read for it.

PyTorch and Grain need a Python of their own, which has torch, torchvision and grain; without it they are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import pictures, report

ROUNDS = 5
CLASSES = 10
MANY = 100_000
TIMEOUT = 300.0
PROBES = Path(__file__).parent / "loaders.py"


class Loader(NamedTuple):
    """probe: in loaders.py. folder: which `make` gives. limit: the row that it is compared with."""

    probe: str
    folder: str
    limit: str = "decode limit"
    python: str = "ours"
    warm_up: int = 4


LOADERS = {
    "decode limit": Loader("limit", "photographs"),
    "ours, from shards": Loader("ours", "shards"),
    "ours, from shards, files' bytes kept in memory": Loader("ours_kept", "shards", warm_up=100),
    "ours, from loose files": Loader("ours", "in place"),
    "Keras image_dataset_from_directory": Loader("keras", "photographs"),
    "PyTorch DataLoader, torchvision": Loader("torch", "photographs", python="theirs"),
    "Grain, Pillow": Loader("grain", "photographs", python="theirs"),
    "decode limit, 2000x1500": Loader("limit", "large", "decode limit, 2000x1500"),
    "ours, from shards, 2000x1500": Loader("ours", "large shards", "decode limit, 2000x1500"),
}
FIRST_BATCH = {
    "ours, from loose files": "many in place",
    "Keras image_dataset_from_directory": "many",
    "PyTorch DataLoader, torchvision": "many",
    "Grain, Pillow": "many",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch-python", help="Python with torch, torchvision and grain")
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cnn-tf-benchmark-data")
    arguments = parser.parse_args()
    pythons = {"ours": sys.executable, **({"theirs": arguments.torch_python} if arguments.torch_python else {})}
    folders = make(arguments.folder, arguments.pictures)
    loaders = {name: loader for name, loader in LOADERS.items() if loader.python in pythons}
    samples: dict[str, list[Mapping[str, float]]] = {name: [] for name in loaders}
    for _ in range(arguments.rounds):
        for name, loader in loaders.items():
            python, folder = pythons[loader.python], folders[loader.folder]
            samples[name].append(measure(python, loader.probe, folder, loader.warm_up))
    many = {
        name: measure(pythons[loaders[name].python], loaders[name].probe, folders[folder], 0)["first"]
        for name, folder in FIRST_BATCH.items()
        if name in loaders
    }
    rows = [row(name, samples, many) for name in loaders]
    title = f"Making training batches: ratio to the decode limit, {arguments.rounds} rounds"
    print(report.write("data", title, rows))


def row(
    name: str, samples: Mapping[str, Sequence[Mapping[str, float]]], many: Mapping[str, float]
) -> dict[str, object]:
    own, limits = samples[name], samples[LOADERS[name].limit]
    ratios = [one["rate"] / limit["rate"] for one, limit in zip(own, limits, strict=True)]
    costs = [limit["cpu"] / one["cpu"] for one, limit in zip(own, limits, strict=True)]
    return {
        "loader": name,
        "pictures/s": f"{statistics.median(one['rate'] for one in own):.0f}",
        "ratio to limit": f"{statistics.median(ratios):.2f}",
        "lowest, highest": f"{min(ratios):.2f}, {max(ratios):.2f}",
        "CPU ms a picture": f"{statistics.median(one['cpu'] for one in own) * 1000:.2f}",
        "ratio by CPU": f"{statistics.median(costs):.2f}",
        "first batch, s": f"{statistics.median(one['first'] for one in own):.2f}",
        f"of {MANY:,} files, s": f"{many[name]:.2f}" if name in many else "",
    }


def measure(python: str, probe: str, folder: Path, warm_up: int) -> Mapping[str, float]:
    """rate (pictures a second), cpu (seconds a picture, all processes), first (seconds to the first batch, after imports)."""
    result = subprocess.run(
        [python, str(PROBES), probe, str(folder), str(warm_up)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    if result.returncode:
        raise SystemExit(f"The probe {probe} failed:\n{result.stderr}")
    figures: Mapping[str, float] = json.loads(result.stdout.splitlines()[-1])
    return figures


def make(folder: Path, count: int) -> dict[str, Path]:
    """Folders of pictures and data sets by name; what is there already stays. "many" is hard links to the photographs."""
    folders = {name: folder / f"{name}-{count}" for name in ("photographs", "large", "many")}
    pictures.write_photographs(folders["photographs"], count, CLASSES)
    pictures.write_photographs(folders["large"], max(count // 30, 64), CLASSES, 2000, 1500)
    sources = sorted(folders["photographs"].rglob("*.jpg"))
    for number in range(MANY):
        link = folders["many"] / f"class_{number % CLASSES:02d}" / f"{number:06d}.jpg"
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(sources[number % count])
    made = {
        "shards": prepare(folders["photographs"]),
        "in place": prepare(folders["photographs"], "--in-place"),
        "large shards": prepare(folders["large"]),
        "many in place": prepare(folders["many"], "--in-place", "--keep", "duplicate"),
    }
    return {**folders, **made}


def prepare(folder: Path, *options: str) -> Path:
    """A data set of all pictures in the folder, all for training."""
    data_set = folder.with_name(f"{folder.name}-set{''.join(options)}")
    command = [sys.executable, "-m", "cnn_tf", "prepare", folder, "--name", data_set.name, "--data", data_set.parent]
    subprocess.run([*map(str, command), "--split", "train=1", *options], check=True)
    return data_set


if __name__ == "__main__":
    main()
