"""The session settings of --tensorflow_session_config_file."""

from __future__ import annotations

from pathlib import Path

from serving.server import text_proto


def read(path: Path) -> bytes:
    """A serialized `tensorflow.ConfigProto`. Raises InvalidArgument."""
    from tensorflow.core.protobuf import config_pb2  # brings TensorFlow, some seconds

    return bytes(text_proto.read(path, config_pb2.ConfigProto(), "tensorflow.ConfigProto").SerializeToString())
