"""What benchmarks.data runs in fresh processes: python loaders.py PROBE FOLDER WARM_UP; prints figures as JSON.

WARM_UP batches go by before others are counted; 0: only the first batch is measured.

Imports nothing of ours unless the probe is ours, since the Python of PyTorch has none of it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SIZE = 224
BATCH = 32
CORES = os.cpu_count() or 1
SECONDS = 6.0
"""How long batches are counted, at least."""

Batches = Iterator[Any]


def limit(folder: Path) -> Callable[[], Batches]:
    """TensorFlow's decode_jpeg of pictures in memory; of each only a pixel goes on, so nothing is copied."""
    import tensorflow as tf

    encoded = [path.read_bytes() for path in files(folder)[:3000]]

    def begin() -> Batches:
        table = tf.constant(encoded)
        numbers = tf.data.Dataset.range(2**40)
        pixels = numbers.map(lambda n: tf.io.decode_jpeg(table[n % len(encoded)])[0, 0, 0], num_parallel_calls=CORES)
        return iter(pixels.batch(BATCH).prefetch(2))

    return begin


def ours(data_set: Path, keep: bool = False) -> Callable[[], Batches]:
    """The pipeline of `cnn-tf train`; keep: what is the same each epoch stays in memory."""
    from cnn_tf.quiet import import_tensorflow

    import_tensorflow()
    from pipelines import cache, dataset, manifest
    from pipelines.config import AugmentConfig, DataConfig, TrainConfig

    augment = AugmentConfig(random_resized_crop=True, flip=True)
    config = TrainConfig(epochs=1000, data=DataConfig(batch_size=BATCH), augment=augment)

    def begin() -> Batches:
        data = manifest.load(data_set)
        kept = cache.in_memory if keep else cache.no_cache
        return iter(
            dataset.for_training(data.splits["train"], config, (SIZE, SIZE, 3), len(data.class_names), cache=kept)
        )

    return begin


def keras(folder: Path) -> Callable[[], Batches]:
    """image_dataset_from_directory at 256x256, then a random crop to 224x224 and RandomFlip: it has no random resized crop."""
    import keras as library
    import tensorflow as tf

    def begin() -> Batches:
        library.config.disable_interactive_logging()
        dataset = library.utils.image_dataset_from_directory(
            str(folder), image_size=(256, 256), batch_size=BATCH, seed=0, verbose=False
        )
        layers = [library.layers.RandomCrop(SIZE, SIZE), library.layers.RandomFlip("horizontal")]

        def change(images: Any, labels: Any) -> Any:
            for layer in layers:
                images = layer(images, training=True)
            return images, labels

        return iter(dataset.map(change, num_parallel_calls=tf.data.AUTOTUNE).repeat().prefetch(2))

    return begin


def torch(folder: Path) -> Callable[[], Batches]:
    """ImageFolder, RandomResizedCrop, RandomHorizontalFlip, PILToTensor; a worker a core."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    def begin() -> Batches:
        steps = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
        images = datasets.ImageFolder(str(folder), transforms.Compose(steps))
        loader = DataLoader(images, BATCH, shuffle=True, num_workers=CORES, persistent_workers=True, drop_last=True)

        def endless() -> Batches:
            while True:
                yield from loader

        return endless()

    return begin


def grain(folder: Path) -> Callable[[], Batches]:
    """MapDataset, shuffled, with Pillow's decoder at a fitting scale, its resize of a box, and mirroring; a worker a core."""
    import io
    import math

    import grain.python as library
    import numpy as np
    from PIL import Image

    def load(path: Path, random: np.random.Generator) -> Any:
        image = Image.open(io.BytesIO(path.read_bytes()))
        full = image.size
        area, ratio = full[0] * full[1] * random.uniform(0.08, 1), math.exp(random.uniform(-1, 1) * math.log(4 / 3))
        wide, tall = min(math.sqrt(area * ratio), full[0]), min(math.sqrt(area / ratio), full[1])
        left, top = random.uniform(0, full[0] - wide), random.uniform(0, full[1] - tall)
        image.draft("RGB", (int(SIZE * full[0] / wide), int(SIZE * full[1] / tall)))
        scale = image.size[0] / full[0]
        box = tuple(value * scale for value in (left, top, left + wide, top + tall))
        resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box)
        pixels = np.asarray(resized)
        return np.ascontiguousarray(pixels[:, ::-1]) if random.random() < 0.5 else pixels

    def begin() -> Batches:
        dataset = library.MapDataset.source(files(folder)).seed(0).shuffle().repeat().random_map(load).batch(BATCH)
        return iter(dataset.to_iter_dataset().mp_prefetch(library.MultiprocessingOptions(num_workers=CORES)))

    return begin


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


PROBES: dict[str, Callable[[Path], Callable[[], Batches]]] = {
    "limit": limit,
    "ours": ours,
    "ours_kept": lambda folder: ours(folder, keep=True),
    "keras": keras,
    "torch": torch,
    "grain": grain,
}


def processor_seconds() -> float:
    """Of this process and all below it, now."""
    ticks, ended = os.sysconf("SC_CLK_TCK"), resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for process in (os.getpid(), *below(os.getpid())):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def below(process: int) -> Iterator[int]:
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield int(child)
            yield from below(int(child))


def main() -> None:
    probe, folder, warm_up = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    begin = PROBES[probe](folder)
    start = time.perf_counter()
    batches = begin()
    next(batches)
    figures = {"first": time.perf_counter() - start}
    if warm_up:
        for _ in range(warm_up):
            next(batches)
        start, before, count = time.perf_counter(), processor_seconds(), 0
        while time.perf_counter() - start < SECONDS:
            next(batches)
            count += BATCH
        figures["rate"] = count / (time.perf_counter() - start)
        figures["cpu"] = (processor_seconds() - before) / count
    print(json.dumps(figures), flush=True)
    for process in list(below(os.getpid())):
        os.kill(process, signal.SIGKILL)
    os._exit(0)  # not waiting for what threads of loaders do


if __name__ == "__main__":
    main()
