"""Weights of other libraries onto our architectures: torchvision and timm (.safetensors, .pth), keras.applications (.h5).

A file fits as a whole or not at all: every array of ours must be in it, under its known name and with its shape, and nothing
else. torch writes kernels (out, in, height, width) where Keras has (height, width, in, out), and flattens channels first.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from cnn_tf import checkpoints, models, naming, weight_names
from cnn_tf.checkpoints import Arrays
from cnn_tf.errors import WeightsMismatch

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

# What checkpoints hold beside the weights of a network at work: counters, and GoogLeNet's auxiliary heads.
IGNORED = re.compile(r"num_batches_tracked$|^aux\d?\.")

# kind of layer -> torch's names of its weights, in Keras's order.
TORCH_WEIGHTS = {
    "Conv2D": (".weight", ".bias"),
    "GroupedConv2D": (".weight", ".bias"),
    "DepthwiseConv2D": (".weight", ".bias"),
    "Dense": (".weight", ".bias"),
    "BatchNormalization": (".weight", ".bias", ".running_mean", ".running_var"),
    "LayerNormalization": (".weight", ".bias"),
    "EinsumDense": ("",),
}


def load(name: str, path: Path, **changes: Any) -> keras.Model:
    """The network `name` with the weights in a file and as many classes as they have; changes as in `build`.

    Raises WeightsMismatch that names the first thing that does not fit.
    """
    if name not in models.MODELS:
        raise WeightsMismatch(naming.unknown("model", name, models.MODELS))
    if path.suffix == ".h5":
        return _load_keras(name, path, changes)
    return from_torch(name, checkpoints.read_torch(path), str(path), **changes)


def from_torch(name: str, weights: Arrays, origin: str, **changes: Any) -> keras.Model:
    """As `load`, from arrays by torch's names; `origin` tells in messages where they come from."""
    namings = weight_names.torch_namings(name)
    if not namings:
        known = ", ".join(weight_names.known_to_torch(models.MODELS))
        raise WeightsMismatch(f"torchvision and timm have no network that equals {name}. Those that do: {known}.")
    arrays = {theirs: array for theirs, array in weights.items() if not IGNORED.search(theirs)}
    fitting = [naming for naming in namings if f"{naming.classifier}.bias" in arrays]
    if not fitting:
        wanted = " or ".join(f"{naming.classifier}.bias" for naming in namings)
        raise WeightsMismatch(f"{origin} has no {wanted}, so these are not the weights of {name}.")
    model = models.build(name, num_classes=len(arrays[f"{fitting[0].classifier}.bias"]), **changes)
    names = fitting[0].names([layer.name for layer in model.layers])
    for layer in _weighted(model):
        _assign(layer, _take(layer, names[layer.name], arrays, origin), f"{names[layer.name]} in {origin}")
    if arrays:
        raise WeightsMismatch(f"{origin} has {next(iter(arrays))}, for which {name} has no place.")
    return model


def published_options(name: str, path: Path) -> Mapping[str, Any]:
    """The options of `build` that published weights of this kind of file were made with."""
    if path.suffix != ".h5":
        return weight_names.torch_options(name)
    return weight_names.KERAS[name].options if name in weight_names.KERAS else {}


def transfer(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies all weights from one model to another of the same architecture; returns the layers that stay new.

    Those are the ones whose size is the number of classes, if that differs. Kernels for three colours are summed where
    `target` takes grey pictures, which gives what three equal channels would. Auxiliary heads stay as they are.

    Raises WeightsMismatch.
    """
    theirs = {layer.name: layer.get_weights() for layer in source.layers}
    classes = num_classes(source), num_classes(target)
    new = []
    for layer in _weighted(target):
        if len(theirs.get(layer.name, ())) != len(layer.weights):
            raise WeightsMismatch(
                f"{source.name} has no layer as {target.name}'s {layer.name}. Expected one architecture."
            )
        shapes = [tuple(weight.shape) for weight in layer.weights]
        arrays = [_to_grey(array, shape) for array, shape in zip(theirs[layer.name], shapes, strict=True)]
        if _differ_in_classes([array.shape for array in arrays], shapes, classes):
            new.append(layer.name)
        else:
            _assign(layer, arrays, source.name)
    return new


def num_classes(model: keras.Model) -> int:
    """How many classes a model tells apart."""
    return int(model.outputs[0].shape[-1])


def _weighted(model: keras.Model) -> list[keras.Layer]:
    """The layers that have weights, but for those of auxiliary heads."""
    return [layer for layer in model.layers if layer.weights and not layer.name.startswith("aux")]


def _to_grey(array: Array, shape: Shape) -> Array:
    if array.ndim == len(shape) == 4 and (array.shape[2], shape[2]) == (3, 1):
        return array.sum(axis=2, keepdims=True)
    return array


def _differ_in_classes(theirs: Sequence[Shape], ours: Sequence[Shape], classes: tuple[int, int]) -> bool:
    """Whether shapes differ, but only in axes that count classes."""
    if any(len(one) != len(other) for one, other in zip(theirs, ours, strict=True)):
        return False
    pairs = {pair for one, other in zip(theirs, ours, strict=True) for pair in zip(one, other, strict=True)}
    return {pair for pair in pairs if pair[0] != pair[1]} == {classes}


def _assign(layer: keras.Layer, arrays: Sequence[Array], origin: str) -> None:
    """Sets a layer's weights, which come from `origin`. Raises WeightsMismatch."""
    for weight, array in zip(layer.weights, arrays, strict=True):
        if tuple(weight.shape) != array.shape:
            raise WeightsMismatch(
                f"{layer.name} needs a {weight.name} of the shape {tuple(weight.shape)}. Received: {array.shape}, "
                f"{origin}. Choose the architecture, and pictures of the size and channels, that the weights were made for."
            )
        if not np.isfinite(array).all():
            raise WeightsMismatch(
                f"The {weight.name} of {layer.name} has values that are no numbers: damaged, {origin}."
            )
    layer.set_weights(list(arrays))


def _take(layer: keras.Layer, theirs: str, arrays: Arrays, origin: str) -> list[Array]:
    """Takes the layer's weights out of `arrays`, in its order and layout."""
    names = [theirs + suffix for suffix in TORCH_WEIGHTS[type(layer).__name__]][: len(layer.weights)]
    for name in names:
        if name not in arrays:
            raise WeightsMismatch(f"{origin} has no {name}, which {layer.name} needs.")
    return [_from_torch(layer, arrays.pop(name)) for name in names]


def _from_torch(layer: keras.Layer, array: Array) -> Array:
    """A torch array in the layout of a Keras layer."""
    if isinstance(layer, keras.layers.EinsumDense):  # (C, 1, 1) -> (C,)
        return array.reshape(-1)
    if array.ndim < 2:
        return array
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # (C, 1, h, w) -> (h, w, C, 1)
        return array.transpose(2, 3, 0, 1)
    if isinstance(layer, keras.layers.Conv2D):  # a 1x1 convolution may be a matrix there
        return array.reshape(*array.shape, *(1,) * (4 - array.ndim)).transpose(2, 3, 1, 0)
    flattened = _flattened_shape(layer)
    if flattened is None:
        return array.reshape(len(array), -1).T
    height, width, channels = flattened
    if array.size != len(array) * height * width * channels:
        return array.T  # does not fit; what is said of it names the shapes
    return array.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, len(array))


def _flattened_shape(layer: keras.Layer) -> tuple[int, int, int] | None:
    """(H, W, C) of what a Flatten before this layer flattens, dropout between them aside."""
    before = layer.input._keras_history.operation
    while isinstance(before, keras.layers.Dropout):
        before = before.input._keras_history.operation
    if not isinstance(before, keras.layers.Flatten):
        return None
    height, width, channels = before.input.shape[1:]
    return height, width, channels


def _load_keras(name: str, path: Path, changes: Mapping[str, Any]) -> keras.Model:
    """keras.applications reads its own file; then layers are copied by name."""
    if name not in weight_names.KERAS:
        known = ", ".join(f"{ours} (their {row.network})" for ours, row in weight_names.KERAS.items())
        raise WeightsMismatch(f"keras.applications has no network that equals {name}. Those that do: {known}.")
    row = weight_names.KERAS[name]
    classes = checkpoints.keras_classes(path)
    published = getattr(keras.applications, row.network)(weights=None, classes=classes)
    _read_keras(published, path)
    theirs = {layer.name: layer.get_weights() for layer in published.layers}
    model = models.build(name, num_classes=classes, **changes)
    names = row.naming.names([layer.name for layer in model.layers])
    if row.bgr:
        first = theirs[names[_weighted(model)[0].name]]
        first[0] = first[0][:, :, ::-1]
    for layer in _weighted(model):
        arrays = theirs[names[layer.name]]
        if isinstance(layer, keras.layers.BatchNormalization):
            arrays = _fold_bias(arrays, theirs.get(names.get(layer.name.removesuffix("_bn") + "_conv", ""), ()))
        _assign(layer, arrays[: len(layer.weights)], f"{names[layer.name]} in {path}")
    return model


def _read_keras(published: keras.Model, path: Path) -> None:
    """Fills a network of keras.applications. Raises WeightsMismatch with the first of Keras's many complaints."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each layer
            published.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        text = " ".join(str(error).split())
        first = re.search(r"object <\w+ name=([^,>]+).*?>: (.*?)( List of objects|$)", text)
        reason = f"{first[1]}: {first[2]}" if first else text
        raise WeightsMismatch(f"{path} does not fit keras.applications' {published.name}. {reason}") from None


def _fold_bias(normalisation: Sequence[Array], convolution: Sequence[Array]) -> Sequence[Array]:
    """gamma, beta, mean, variance that do what these do after a convolution with a bias: x + b - mean = x - (mean - b)."""
    if len(convolution) < 2:
        return normalisation
    gamma, beta, mean, variance = normalisation
    return gamma, beta, mean - convolution[1], variance
