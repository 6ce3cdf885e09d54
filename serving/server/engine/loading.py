"""Reads a SavedModel, of TensorFlow 1 or 2; says in one line what is wrong with one that is not whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import message, text_format
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2

from serving import errors

VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


def load(path: Path, tags: frozenset[str], config: config_pb2.ConfigProto) -> Any:
    """A session on the graph with exactly `tags` of the SavedModel in the folder `path`, restored and initialised.

    Raises ServingError: what `read_meta_graph` does; OutOfRange or DataLoss for variables whose files are truncated.
    """
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        with session.graph.as_default():
            tf.compat.v1.saved_model.load(session, sorted(tags), str(path))
    except BaseException as error:
        session.close()
        raise as_serving_error(error, path) from error
    return session


def read_meta_graph(path: Path, tags: frozenset[str]) -> meta_graph_pb2.MetaGraphDef:
    """The graph with exactly `tags` of the SavedModel in the folder `path`, not loaded yet.

    Raises ServingError: NotFound for missing files or tags, OutOfRange for a truncated graph, FailedPrecondition if variables
    that the graph reads were never written.
    """
    chosen = choose_meta_graph(read(path), tags)
    require_restorable(path, chosen)
    return chosen


def read(path: Path) -> saved_model_pb2.SavedModel:
    """What `saved_model.pb`, or else `saved_model.pbtxt`, says. Raises NotFound, or OutOfRange for a truncated file."""
    binary, text = path / "saved_model.pb", path / "saved_model.pbtxt"
    try:
        if binary.exists():
            return saved_model_pb2.SavedModel.FromString(binary.read_bytes())
        return text_format.Parse(text.read_text(encoding="utf-8"), saved_model_pb2.SavedModel())
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}. "
            "Check that the folder holds a complete SavedModel"
        ) from error
    except message.DecodeError as error:
        raise errors.OutOfRange(f"{binary} is not a whole SavedModel: it is truncated or damaged") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise errors.OutOfRange(f"{text} is not a whole SavedModel: {_one_line(error)}") from error
    except OSError as error:
        raise errors.Internal(f"{path} could not be read: {error}") from error


def choose_meta_graph(model: saved_model_pb2.SavedModel, tags: frozenset[str]) -> meta_graph_pb2.MetaGraphDef:
    """The graph whose tags are exactly `tags`. Raises NotFound."""
    for meta_graph in model.meta_graphs:
        if frozenset(meta_graph.meta_info_def.tags) == tags:
            return meta_graph
    found = "; ".join(_set(meta_graph.meta_info_def.tags) for meta_graph in model.meta_graphs) or "none"
    raise errors.NotFound(
        f"Could not find meta graph def matching supplied tags: {_set(tags)}. The SavedModel has: {found}. "
        "Name the right ones with --saved_model_tags"
    )


def require_restorable(path: Path, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
    """Raises FailedPrecondition for a model with variables but no files of their values.

    TensorFlow Serving loads such a half-copied version, and then fails each request (tensorflow/serving#1086).
    """
    variables = path / "variables"
    if (variables / "variables.index").exists() or any(variables.glob("variables.data-*")):
        return
    if any(node.op in VARIABLE_OPS for node in meta_graph.graph_def.node):
        raise errors.FailedPrecondition(
            f"{variables / 'variables.index'} is missing, but the graph has variables: the version is not complete. "
            "Copy it again, or rename it into place when it is whole"
        )


def as_serving_error(error: BaseException, path: Path) -> BaseException:
    """What TensorFlow raised while it loaded, in our words; anything but an Exception as it is."""
    if isinstance(error, tf.errors.OpError):
        return errors.from_number(error.error_code, f"{path}: {_one_line(error.message)}")
    if isinstance(error, MemoryError):
        return errors.ResourceExhausted(f"{path} needs more memory than there is")
    if isinstance(error, Exception):
        return errors.InvalidArgument(f"{path} is not a SavedModel that TensorFlow can load: {_one_line(error)}")
    return error


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _set(names: Iterable[str]) -> str:
    return "{ " + " ".join(sorted(names)) + " }"
