"""Reads the weights that torchvision, timm and keras.applications publish. Never runs code from a file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnn_tf.errors import WeightsMismatch

Arrays = dict[str, npt.NDArray[Any]]


def read_torch(path: Path) -> Arrays:
    """The float32 arrays of a torch checkpoint, by name. Only .pth and .pt need torch; only plain weights are read of them.

    Raises WeightsMismatch for another kind of file or one that cannot be read.
    """
    if path.suffix not in READERS:
        raise WeightsMismatch(f"Expected a file that ends in {', '.join(READERS)} or .h5. Received: {path}.")
    return {name.removeprefix("module."): array for name, array in READERS[path.suffix](path).items()}


def _read_safetensors(path: Path) -> Arrays:
    import safetensors.numpy

    try:
        loaded = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError) as error:  # also types that NumPy lacks
        raise WeightsMismatch(f"{path} cannot be read as safetensors: {first_line(error)}") from None
    return {name: array.astype(np.float32) for name, array in loaded.items()}


def _read_pickled(path: Path) -> Arrays:
    try:
        import torch
    except ModuleNotFoundError:
        raise WeightsMismatch(
            f"Only torch reads {path.name}. Install it (pip install torch), or get them as .safetensors, which needs none."
        ) from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception:  # whatever its unpickler or zip reader meets; what it says advises to run the code
        raise WeightsMismatch(
            f"{path} is damaged, or holds more than plain weights: code in a checkpoint is never run. "
            "Save the model's state_dict alone, best as .safetensors."
        ) from None
    for wrapper in ("state_dict", "model"):  # how training scripts wrap them
        loaded = loaded.get(wrapper, loaded) if isinstance(loaded, dict) else {}
    return {name: tensor.float().numpy() for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}


READERS: Mapping[str, Callable[[Path], Arrays]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_pickled,
    ".pt": _read_pickled,
}


def keras_classes(path: Path) -> int:
    """For how many classes weights of keras.applications are, in Keras 3's files or in the older ones that it offers.

    Raises WeightsMismatch for a file that is no HDF5 or has no classifier.
    """
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        with h5py.File(path) as file:
            bias = _last_weight(file) if "layer_names" in file.attrs else _last_dense_bias(file)
    except (OSError, KeyError, IndexError) as error:
        raise WeightsMismatch(f"{path} cannot be read as weights in HDF5: {first_line(error)}") from None
    if bias is None or len(bias) != 1:
        raise WeightsMismatch(f"{path} has no classifier. Expected the weights with their top.")
    return bias[0]


def _last_weight(file: h5py.File) -> tuple[int, ...]:
    """Shape of the last weight in an older file, where layers are in order."""
    layers = [file[name] for name in file.attrs["layer_names"]]
    last = [layer for layer in layers if len(layer.attrs["weight_names"])][-1]
    return tuple(last[last.attrs["weight_names"][-1]].shape)


def _last_dense_bias(file: h5py.File) -> tuple[int, ...] | None:
    """Shape of the last dense layer's bias in a file of Keras 3, which numbers layers by their kind."""
    biases: dict[int, tuple[int, ...]] = {}

    def look(name: str, node: Any) -> None:
        if (match := re.fullmatch(r"layers/dense_?(\d*)/vars/1", name)) and isinstance(node, h5py.Dataset):
            biases[int(match[1] or 0)] = tuple(node.shape)

    file.visititems(look)
    return biases[max(biases)] if biases else None


def first_line(error: Exception) -> str:
    """Of its message."""
    return str(error).strip().partition("\n")[0]
