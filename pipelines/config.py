"""The typed configuration of a training, and where its values come from: preset, file, command line."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from pipelines.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataConfig(_Section):
    """Which examples, and how many at a time."""

    source: str | None = "fashion_mnist"
    """Name of a data set that `cnn-tf prepare` made or knows; null: none, as a run of imported weights may have it."""
    validation_examples: int | None = pydantic.Field(None, ge=0)
    """How many training examples to keep aside, to see during training how well unseen ones are classified; null: the data
    set's own validation split, or else a tenth of the training split, at most 5000."""
    batch_size: int = pydantic.Field(128, ge=1)
    """Examples a step."""
    input_shape: str | None = None
    """Height x width x channels of the pictures that the network sees, such as 224x224x3; null: as the data set has them, or
    the paper's size where they differ."""
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    """How other sizes are brought to it. stretch: each side for itself; crop: the middle; letterbox: black borders."""
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"
    """How pixels are computed when sizes change; each with antialiasing."""


class AugmentConfig(_Section):
    """Random changes of training pictures that leave their class as it is, in this order."""

    random_resized_crop: bool = False
    """Cut out a random part and bring it to the network's size, instead of fitting the whole (Szegedy et al., 2014)."""
    crop_area: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest share of the picture's area that the part has."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width divided by height that the part has."""
    flip: bool = False
    """Mirror half of the pictures left to right."""
    shift: int = pydantic.Field(0, ge=0)
    """Move each picture by up to so many pixels each way; the gap is black."""
    rotation: float = pydantic.Field(0.0, ge=0, le=180)
    """Turn each picture by up to so many degrees each way; corners are black."""
    brightness: float = pydantic.Field(0.0, ge=0, le=1)
    """Multiply values by up to 1 - this to 1 + this."""
    contrast: float = pydantic.Field(0.0, ge=0, le=1)
    """Multiply distances to the mean grey by up to 1 - this to 1 + this."""
    saturation: float = pydantic.Field(0.0, ge=0, le=1)
    """Multiply distances to each pixel's grey by up to 1 - this to 1 + this."""
    hue: float = pydantic.Field(0.0, ge=0, le=0.5)
    """Turn the hue by up to this share of the colour circle each way; brightness stays (the circle is that of YIQ)."""
    policy: Literal["none", "randaugment", "trivial_augment_wide", "augmix"] = "none"
    """RandAugment (Cubuk et al., 2019), TrivialAugment Wide (Mueller, Hutter, 2021) or AugMix (Hendrycks et al., 2019)."""
    operations: int = pydantic.Field(2, ge=1, le=8)
    """How many operations RandAugment applies one after the other."""
    magnitude: float = pydantic.Field(9.0, ge=0, le=30)
    """How strong RandAugment's are, of 30."""
    erasing: float = pydantic.Field(0.0, ge=0, le=1)
    """Share of pictures of which a random rectangle is replaced by noise (Zhong et al., 2017)."""
    mixup: float = pydantic.Field(0.0, ge=0)
    """Mix pairs of pictures and labels in shares from Beta(this, this) (Zhang et al., 2017); 0: never."""
    cutmix: float = pydantic.Field(0.0, ge=0)
    """Paste a rectangle from another picture, its area from Beta(this, this) (Yun et al., 2019); 0: never."""
    label_smoothing: float = pydantic.Field(0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all classes (Szegedy et al., 2015)."""

    @pydantic.field_validator("crop_area", "crop_ratio")
    @classmethod
    def _check_range(cls, value: tuple[float, float], info: pydantic.ValidationInfo) -> tuple[float, float]:
        highest = 1.0 if info.field_name == "crop_area" else math.inf
        if not 0 < value[0] <= value[1] <= highest:
            raise ValueError(
                f"Expected the smallest and the largest, above 0{' and at most 1' if highest == 1 else ''}, such as [0.5, 1]"
            )
        return value


class NetworkConfig(_Section):
    """What is changed in the network; null: as its paper has it."""

    scaling: Literal["unit", "imagenet", "symmetric", "caffe"] = "unit"
    """What is done to values 0..255 first. unit: to 0..1; symmetric: to -1..1; imagenet, caffe: as published weights want."""
    dropout: float | None = pydantic.Field(None, ge=0, lt=1)
    """Share of values that every dropout layer sets to zero."""
    norm_momentum: float | None = pydantic.Field(None, ge=0, le=1)
    """Share of the old value that the moving averages of batch normalisation keep at a step."""
    norm_epsilon: float | None = pydantic.Field(None, gt=0)
    """What batch normalisation adds to the variance."""
    auxiliary_heads: bool = False
    """Train GoogLeNet with its two auxiliary classifiers; the trained model is without them."""


class OptimizerConfig(_Section):
    """How weights are changed."""

    name: Literal["adam", "sgd"] = "adam"
    """adam: Adam with decoupled weight decay; sgd: with Nesterov momentum 0.9."""
    learning_rate: float = pydantic.Field(1e-2, gt=0)
    """Peak, reached after the warm-up; then it falls along a half cosine to zero."""
    warmup_epochs: float = pydantic.Field(1.0, ge=0)
    """How long it rises from zero, epochs."""
    weight_decay: float = pydantic.Field(0.0, ge=0)
    """Share of each weight taken away per step, times the learning rate."""


class TrainConfig(_Section):
    """All that a training depends on; the same values give the same weights."""

    model: str = "lenet5_bn"
    """Name of an architecture: `cnn-tf models` lists them."""
    initial: str | None = None
    """Run whose weights the training starts from, by name or path; a classifier for other classes starts anew."""
    freeze_backbone: bool = False
    """Train the head alone: the layers after the last stage."""
    epochs: int = pydantic.Field(15, ge=1)
    """Passes over the training examples."""
    seed: int = pydantic.Field(0, ge=0)
    """Of the initial weights, the order of examples and their augmentation."""
    checkpoint_seconds: float = pydantic.Field(15.0, gt=0)
    """At least so often is the state saved, besides the end of each epoch."""
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    def to_yaml(self) -> str:
        """As text that `from_file` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class ExportConfig(_Section):
    """What an export can be told."""

    max_pixels: int = pydantic.Field(178_956_970, ge=1, le=2**53)
    """How many pixels the header of a picture may announce; above, it is refused before anything is decoded. The default is
    half a gigabyte of colours, where Pillow calls a picture a decompression bomb."""
    lenient: bool = False
    """Export the signature serving_bytes_lenient too, in which one bad picture does not fail the others."""
    embeddings: bool = False
    """Answer with the features that the classifier sees, too."""
    calibrate: bool = False
    """Divide logits by a temperature, found on the validation pictures, before they become probabilities."""
    explain: bool = False
    """Export the signature explain too, which tells what in a picture spoke for its class."""
    optimize: str = "float32"
    """The form that the network gets: a row of `optimization.VARIANTS`."""
    xla: bool = False
    """Have the XLA compiler make the network of all signatures but explain, for each size of batch when it first comes."""
    max_accuracy_drop: float = pydantic.Field(1.0, ge=0)
    """Percent points of accuracy that an optimized network may lose on the evaluation's pictures."""
    licence: str = "unspecified"
    """The model's, for its card."""

    @property
    def is_optimized(self) -> bool:
        """Whether something is done to the network that should be compared with it."""
        return self.optimize != "float32" or self.xla


def resolve(base: TrainConfig, file: Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """`base`, changed by the values in `file` (YAML or TOML), changed by `overrides` such as "optimizer.name=sgd".

    Raises UsageError for a file that cannot be read, an unknown key (naming the nearest known one) or a wrong value.
    """
    values = base.model_dump()
    if file:
        _merge(values, _read(file))
    for override in overrides:
        _merge(values, _parse_override(override))
    return validate(values)


def validate(values: Mapping[str, Any]) -> TrainConfig:
    """A configuration of nested `values`. Raises UsageError."""
    try:
        return TrainConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise UsageError("; ".join(_explain(item) for item in error.errors())) from None


def from_file(path: Path) -> TrainConfig:
    """The configuration that `to_yaml` wrote. Raises UsageError."""
    return validate(_read(path))


def known_keys() -> list[str]:
    """Every key, dotted."""
    return list(_keys(TrainConfig().model_dump()))


def _keys(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text()
    except OSError as error:
        raise UsageError(f"Cannot read the config file {file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"Cannot read the config file {file}: it is not UTF-8 text.") from None
    try:
        values = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{file} is not valid {'TOML' if file.suffix == '.toml' else 'YAML'}: {_line(error)}"
        ) from None
    if not isinstance(values, dict):
        raise UsageError(f"{file} must hold keys and values, such as 'epochs: 3'. Received: {type(values).__name__}.")
    return values


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"Expected KEY=VALUE, such as epochs=3 or optimizer.name=sgd. Received: {text!r}.")
    try:
        values: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"The value of {key} cannot be read: {_line(error)}") from None
    for name in reversed(key.split(".")):
        values = {name: values}
    return dict(values)


def _merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for name, change in changes.items():
        if isinstance(change, Mapping) and isinstance(values.get(name), dict):
            _merge(values[name], change)
        else:
            values[name] = change


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{key}: {item['msg'].removeprefix('Value error, ')}. Received: {item['input']!r}."
    near = _nearest(key)
    return f"Unknown key {key!r}. " + (f"Did you mean {near!r}?" if near else f"Known keys: {', '.join(known_keys())}.")


def _nearest(key: str) -> str | None:
    """The known key, or section, that was probably meant."""
    keys = known_keys()
    section, dot, last = key.rpartition(".")
    if dot:  # the section is right: otherwise it would be the unknown key itself
        names = [known.removeprefix(section + dot) for known in keys if known.startswith(section + dot)]
        return next((section + dot + name for name in difflib.get_close_matches(last, names, n=1, cutoff=0.2)), None)
    inner = [known for known in keys if known.endswith(f".{key}")]
    outer = {known.partition(".")[0] for known in keys}
    return next(iter(inner + difflib.get_close_matches(key, outer, n=1)), None)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
