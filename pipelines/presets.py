"""Named experiments with their measured results."""

from __future__ import annotations

from collections.abc import Callable

from cnn_tf import naming
from pipelines.config import AugmentConfig, DataConfig, OptimizerConfig, TrainConfig
from pipelines.errors import UsageError


def fashion_mnist() -> TrainConfig:
    """LeNet-5 with batch normalisation on Fashion-MNIST: `cnn-tf train fashion_mnist`.

    90.8 % of the test pictures right after 15 epochs in 113 s on two cores (AMD EPYC, TensorFlow 2.21, seed 0; 2026-11-23).
    """
    return TrainConfig(
        model="lenet5_bn",
        epochs=15,
        data=DataConfig(source="fashion_mnist", batch_size=128),
        augment=AugmentConfig(flip=True),
        optimizer=OptimizerConfig(learning_rate=0.01),
    )


def fashion_mnist_tiny() -> TrainConfig:
    """Ten steps of the same, to see the whole way run in seconds: `cnn-tf train fashion_mnist_tiny`."""
    config = fashion_mnist()
    return config.model_copy(
        update={"epochs": 1, "data": DataConfig(batch_size=128, validation_examples=60_000 - 1280)}
    )


def photos() -> TrainConfig:
    """Colour pictures of any kind at 64x64, from scratch, in minutes on two cores: `cnn-tf train photos --dataset NAME`.

    69.6 % of 69 test pictures right after 30 epochs on 541 pictures of Tux Paint's stamps in 7 classes (the largest is 36 %;
    TensorFlow 2.21, seed 0; 2026-11-23).
    """
    return TrainConfig(
        model="resnet20",
        epochs=30,
        data=DataConfig(source="emoji", batch_size=32, input_shape="64x64x3"),
        augment=AugmentConfig(
            random_resized_crop=True, crop_area=(0.4, 1.0), flip=True, brightness=0.2, contrast=0.2, saturation=0.2
        ),
        optimizer=OptimizerConfig(learning_rate=0.003, weight_decay=0.05),
    )


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "fashion_mnist": fashion_mnist,
    "fashion_mnist_tiny": fashion_mnist_tiny,
    "photos": photos,
}


def preset(name: str) -> TrainConfig:
    """The configuration called `name`. Raises UsageError."""
    if name.endswith((".yaml", ".yml", ".toml")):
        raise UsageError(f"Expected the name of a preset. Received a file: {name}. Pass it with --config {name}.")
    if name not in PRESETS:
        raise UsageError(naming.unknown("preset", name, PRESETS))
    return PRESETS[name]()
