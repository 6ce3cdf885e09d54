"""Reads the weights that torchvision, timm and keras.applications publish. Never runs code from a file."""

from __future__ import annotations

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
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
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
    """For how many classes weights of keras.applications are, in Keras 3's files or the older ones that it offers.

    Raises WeightsMismatch for a file that is no HDF5 or has no classifier.
    """
    biases: dict[int, int] = {}

    def look(name: str, node: Any) -> None:
        match = re.search(r"layers/dense_?(\d*)/vars/1$|predictions/bias:0$", name)
        if match and isinstance(node, h5py.Dataset):
            biases[int(match[1] or 0)] = node.shape[0]

    try:
        with h5py.File(path) as file:
            file.visititems(look)
    except FileNotFoundError:
        raise FileNotFoundError(2, "No such file", str(path)) from None
    except OSError as error:
        raise WeightsMismatch(f"{path} cannot be read as HDF5: {first_line(error)}") from None
    if not biases:
        raise WeightsMismatch(f"{path} has no classifier. Expected the weights with their top.")
    return biases[max(biases)]


def first_line(error: Exception) -> str:
    """Of its message."""
    return str(error).strip().partition("\n")[0]
