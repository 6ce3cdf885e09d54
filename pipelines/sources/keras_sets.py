"""The picture sets that Keras downloads: `keras:NAME`."""

from __future__ import annotations

from collections.abc import Mapping

from cnn_tf import naming
from pipelines.errors import UsageError
from pipelines.sources import keras_download
from pipelines.sources.arrays import Arrays, Part, as_classes, checked
from pipelines.sources.base import PUBLISHED
from pipelines.sources.fashion_mnist import CLASS_NAMES
from pipelines.sources.location import Location

PREFIX = "keras:"

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# Name -> what its labels stand for (the CIFARs: Krizhevsky, 2009); None: themselves.
SETS: Mapping[str, list[str] | None] = {
    "mnist": None,
    "fashion_mnist": CLASS_NAMES,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100.split(),
}


def open_keras(location: Location) -> Arrays:
    """The source. Raises UsageError for an unknown name, DataUnavailable if it cannot be downloaded."""
    name = location.text.removeprefix(PREFIX)
    if name not in SETS:
        raise UsageError(naming.unknown("picture set of Keras", name, SETS))
    loaded = keras_download.load(name)
    for split, (images, labels) in loaded.items():
        checked(images, labels, f"{location.text} ({split})")
    class_names, indices = as_classes(
        {split: labels for split, (_, labels) in loaded.items()}, SETS[name], location.text
    )
    parts = {split: Part(images, indices[split], split) for split, (images, _) in loaded.items()}
    return Arrays(name, class_names, parts, PUBLISHED)
