"""Configuration files: protobuf messages as text."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving.errors import InvalidArgument

M = TypeVar("M", bound=Message)


def read(path: Path, message: M, name: str) -> M:
    """Fills `message` from a file and returns it; `name` is TensorFlow's, such as "tensorflow.serving.SSLConfig".

    Raises InvalidArgument.
    """
    try:
        return text_format.Parse(path.read_text(), message)
    except OSError as error:
        raise InvalidArgument(f"Cannot read the file {path} with a {name}: {error.strerror}.") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        told = str(error).replace(message.DESCRIPTOR.full_name, name)  # ours of the same fields is called otherwise
        raise InvalidArgument(f"Error parsing text-format {name}: {path}:{told}") from error
