"""Peak memory with 200,000 small pictures: of preparing them, and of one epoch of the training pipeline over them.

python -m benchmarks.data_memory [--pictures N] [--folder FOLDER]

Each is a process of its own. Nothing is kept in memory between epochs (--cache none).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import pictures, report

PICTURES = 200_000
CLASSES = 100
SIDE = 64
LIMIT_MIB = 2048

EPOCH = """
import sys
from pathlib import Path
from cnn_tf.quiet import import_tensorflow
import_tensorflow()
from pipelines import dataset, manifest
from pipelines.config import AugmentConfig, DataConfig, TrainConfig
data = manifest.load(Path(sys.argv[1]))
augment = AugmentConfig(random_resized_crop=True, flip=True)
config = TrainConfig(epochs=1, data=DataConfig(batch_size=32), augment=augment)
shape = ({side}, {side}, 3)
seen = sum(len(batch["label"]) for batch in dataset.for_training(data.splits["train"], config, shape, {classes}))
assert seen == len(data.splits["train"])
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cnn-tf-benchmark-memory")
    arguments = parser.parse_args()
    source = arguments.folder / f"pictures-{arguments.pictures}"
    write(source, arguments.pictures)
    epoch = [sys.executable, "-c", EPOCH.format(side=SIDE, classes=CLASSES)]
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as data:
        for kind, options in (("shards", []), ("in_place", ["--in-place"])):
            command = [sys.executable, "-m", "cnn_tf", "prepare", str(source), "--data", data, "--name", kind]
            rows.append(row(f"cnn-tf prepare {' '.join(options)}", arguments.pictures, [*command, *options]))
            rows.append(row(f"one epoch of training batches, {kind}", arguments.pictures, [*epoch, f"{data}/{kind}"]))
    print(report.write("data_memory", "Memory of a large data set", rows))


def write(folder: Path, count: int) -> None:
    """Writes as many pictures, each another; what is there already stays."""

    def write_one(number: int) -> None:
        path = folder / f"class_{number % CLASSES:02d}" / f"{number:06d}.jpg"
        if not path.exists():
            path.write_bytes(pictures.thumbnail(SIDE, number))

    for number in range(CLASSES):
        (folder / f"class_{number:02d}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write_one, range(count)))


def row(what: str, count: int, command: list[str]) -> dict[str, object]:
    begin = time.perf_counter()
    peak = peak_mib(command)
    return {
        "what": what,
        "pictures": f"{count:,}",
        "peak memory, MiB": f"{peak:.0f}",
        f"under {LIMIT_MIB} MiB": "yes" if peak < LIMIT_MIB else "no",
        "seconds": f"{time.perf_counter() - begin:.0f}",
    }


def peak_mib(command: list[str]) -> float:
    """Of the process that the command starts."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed.")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20


if __name__ == "__main__":
    main()
