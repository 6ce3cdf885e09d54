"""Which models to serve: from one name and path, from a folder of models, or from a `models.config` file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import InvalidArgument
from serving.server import storage

if TYPE_CHECKING:
    from tensorflow_serving.config import model_server_config_pb2

VersionPolicy = Callable[[Collection[int]], set[int]]
"""Version numbers on disk -> those to serve."""


def latest(num_versions: int = 1) -> VersionPolicy:
    """The highest `num_versions` numbers."""
    return lambda numbers: set(sorted(numbers)[-max(num_versions, 1) :])


def specific(wanted: Collection[int]) -> VersionPolicy:
    """Those of `wanted` that exist."""
    return lambda numbers: set(wanted) & set(numbers)


@dataclass(frozen=True)
class ModelConfig:
    """A model's name in requests, the folder that holds its version folders, and which of them to serve."""

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=latest)

    def __post_init__(self) -> None:
        if self.base_path.exists() and not self.base_path.is_dir():
            raise InvalidArgument(
                f"The base path of model {self.name} must be a folder that holds version folders. "
                f"Received a file: {self.base_path}."
            )
        if storage.missing(self.base_path) != "saved_model.pb":
            raise InvalidArgument(
                f"The base path of model {self.name} must be the folder above the version folders. "
                f"Received a version folder itself: {self.base_path}. Pass {self.base_path.absolute().parent}."
            )


def from_folder(models: Path) -> list[ModelConfig]:
    """Every folder below `models` that holds at least one version, under its own name.

    Raises InvalidArgument if there is none.
    """
    if not models.is_dir():
        kind = "a file" if models.exists() else "nothing is there"
        raise InvalidArgument(f"Expected a folder of models, such as models/. Received: {models} ({kind}).")
    names = [entry for entry in sorted(models.iterdir()) if entry.is_dir() and storage.versions(entry)]
    if names:
        return [ModelConfig(entry.name, entry.absolute()) for entry in names]
    hint = (
        f"Pass its parent, {models.parent}." if storage.versions(models) else "Export a model first: cnn-tf export RUN."
    )
    raise InvalidArgument(f"Expected folders NAME/VERSION/saved_model.pb below {models}. Found none. {hint}")


def from_file(path: Path) -> list[ModelConfig]:
    """The models of a text file with TensorFlow Serving's `ModelServerConfig`. Raises InvalidArgument."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2  # brings TensorFlow, some seconds

    try:
        config = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise InvalidArgument(f"Cannot read the model config file {path}: {error.strerror}.") from error
    except text_format.ParseError as error:
        raise InvalidArgument(
            f"Error parsing text-format tensorflow.serving.ModelServerConfig: {path}:{error}"
        ) from error
    models = [_from_proto(model) for model in config.model_config_list.config]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"Illegal to list model {name} multiple times in config list")
    return models


def _from_proto(config: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if config.model_platform != "tensorflow":
        raise InvalidArgument(f"Model {config.name} requests unsupported platform {config.model_platform}")
    if not Path(config.base_path).is_absolute():
        raise InvalidArgument(
            f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
        )
    return ModelConfig(config.name, Path(config.base_path), _policy(config.model_version_policy))


def _policy(policy: object) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")  # type: ignore[attr-defined]
    if choice == "all":
        return lambda numbers: set(numbers)
    if choice == "specific":
        return specific(list(policy.specific.versions))  # type: ignore[attr-defined]
    return latest(policy.latest.num_versions)  # type: ignore[attr-defined]
