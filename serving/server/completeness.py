"""Whether a version folder holds all that its model needs, checked before it is loaded.

TensorFlow Serving loads a version whose variables are not there yet, and then fails every request
(tensorflow/serving#1086). Here a version waits until it is complete, and a damaged one never replaces one that serves.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.errors import DataLoss, NotFound
from serving.server import bundle, storage

MANIFEST = "assets.extra/manifest.json"
"""Written by the export: {"files": {"saved_model.pb": {"sha256": "...", "bytes": 1234}, ...}}."""
TFLITE = "model.tflite"

_TFLITE_IDENTIFIER = b"TFL3"
_VARIABLE_OPS = {"VarHandleOp", "VariableV2", "Variable"}
_CHUNK_BYTES = 1 << 20


def check(path: Path, *, prefer_tflite: bool = False) -> None:
    """Returns if the version folder `path` is complete.

    Raises NotFound if a file is missing, which may still come, and DataLoss if one is damaged. A file that disappears
    meanwhile raises OSError.
    """
    _check_manifest(path)
    if prefer_tflite and (path / TFLITE).is_file():
        _check_tflite(path / TFLITE)
        return
    for meta_graph in _saved_model(path).meta_graphs:
        _check_variables(path, meta_graph)
        for asset in meta_graph.asset_file_def:
            _require(path, f"assets/{asset.filename}")


def _require(path: Path, name: str) -> Path:
    if not (path / name).is_file():
        raise NotFound(f"{name} is missing")
    return path / name


def _check_tflite(file: Path) -> None:
    with file.open("rb") as stream:
        start = stream.read(8)
    if start[4:] != _TFLITE_IDENTIFIER:
        raise DataLoss(f"{file.name} is damaged: it does not begin as a TFLite model does")


def _saved_model(path: Path) -> saved_model_pb2.SavedModel:
    binary, text = (path / name for name in storage.GRAPHS)
    try:
        if not binary.is_file() and text.is_file():
            saved_model = text_format.Parse(text.read_text(), saved_model_pb2.SavedModel())
        else:
            saved_model = saved_model_pb2.SavedModel.FromString(_require(path, binary.name).read_bytes())
    except (DecodeError, UnicodeDecodeError, text_format.ParseError) as error:
        raise DataLoss(f"The graph of the SavedModel cannot be read: {error}") from error
    if not saved_model.meta_graphs:
        raise DataLoss("The SavedModel holds no graph")
    return saved_model


def _check_variables(path: Path, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
    """The variables are there, if the graph has some that are restored or if any of their files is there."""
    if not _restores_variables(meta_graph) and not any((path / "variables").glob("*")):
        return
    sizes = bundle.shard_sizes(_require(path, "variables/variables.index"))
    for number, wanted in enumerate(sizes):
        name = f"variables/variables.data-{number:05d}-of-{len(sizes):05d}"
        size = _require(path, name).stat().st_size
        if size < wanted:
            raise DataLoss(f"{name} is cut off: it has {size} bytes, and the index needs {wanted}")


def _restores_variables(meta_graph: meta_graph_pb2.MetaGraphDef) -> bool:
    return bool(meta_graph.HasField("saver_def")) and any(
        node.op in _VARIABLE_OPS for node in meta_graph.graph_def.node
    )


def _check_manifest(path: Path) -> None:
    """Every file that the manifest names, if there is one, has the size and SHA-256 that it tells."""
    if not (path / MANIFEST).is_file():
        return
    try:
        files: dict[str, Any] = json.loads((path / MANIFEST).read_bytes())["files"]
        promised = {name: (int(file["bytes"]), str(file["sha256"])) for name, file in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataLoss(f"{MANIFEST} cannot be read: {type(error).__name__}: {error}") from error
    for name, (size, _) in promised.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataLoss(f"{MANIFEST} names a file outside of the version: {name}")
        actual = _require(path, name).stat().st_size
        if actual != size:
            raise DataLoss(f"{name} has {actual} bytes. {MANIFEST} says {size}")
    for name, (_, sha256) in promised.items():
        if (actual_hash := _sha256(path / name)) != sha256:
            raise DataLoss(f"{name} has SHA-256 {actual_hash}. {MANIFEST} says {sha256}")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
