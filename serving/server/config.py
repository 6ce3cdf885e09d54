"""Which models to serve: from one name and path, from a folder of models, or from a `ModelServerConfig`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from serving.errors import FailedPrecondition, InvalidArgument
from serving.server import imports, storage, text_proto
from serving.server.policies import All, Latest, Specific, VersionPolicy

if TYPE_CHECKING:
    from tensorflow_serving.config import model_server_config_pb2

PLATFORM = "tensorflow"
CONFIG_FILE = "models.config"
_TENSORFLOW_TYPE = 1  # ModelType.TENSORFLOW, which came before platforms


@dataclass(frozen=True)
class ModelConfig:
    """A model's name in requests, the folder that holds its version folders, and which of them to serve."""

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)

    def absent(self, versions: Collection[int]) -> list[str]:
        """What is to be said of those that are wanted and not among the `versions` on the disk."""
        numbers = sorted(self.policy.absent(versions))
        return [f"Version {number} of servable {self.name} is wanted, but not found" for number in numbers]

    """Label -> version number."""

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidArgument(
                f"A model needs a name, by which requests ask for it. Received none for the base path {self.base_path}."
            )
        if self.base_path.exists() and not self.base_path.is_dir():
            raise InvalidArgument(
                f"The base path of model {self.name} must be a folder that holds version folders. "
                f"Received a file: {self.base_path}."
            )
        if storage.has_graph(self.base_path):
            raise InvalidArgument(
                f"The base path of model {self.name} must be the folder above the version folders. "
                f"Received a version folder itself: {self.base_path}. Pass {self.base_path.absolute().parent}."
            )


def from_folder(models: Path) -> list[ModelConfig]:
    """Every folder below `models` that holds at least one version, under its own name.

    Which versions, and their labels, as the file models.config beside them tells, if one is there: cnn-tf export and cnn-tf
    release write it. Its base paths are those in TensorFlow Serving's container.

    Raises InvalidArgument if there is none, or for a wrong file.
    """
    if not models.is_dir():
        kind = "a file" if models.exists() else "nothing is there"
        raise InvalidArgument(f"Expected a folder of models, such as models/. Received: {models} ({kind}).")
    folders = [entry for entry in sorted(models.iterdir()) if entry.is_dir() and storage.scan(entry).versions]
    if folders:
        told = {config.name: config for config in _read_if_there(models / CONFIG_FILE)}
        return [
            replace(told.get(entry.name, ModelConfig(entry.name, entry)), base_path=entry.absolute())
            for entry in folders
        ]
    is_model = storage.scan(models).versions
    if storage.has_graph(models):
        hint = f"It is a version itself: pass {models.absolute().parent.parent}."
    else:
        hint = f"Pass its parent, {models.parent}." if is_model else "Export a model first: cnn-tf export RUN."
    raise InvalidArgument(f"Expected folders NAME/VERSION/saved_model.pb below {models}. Found none. {hint}")


def _read_if_there(path: Path) -> list[ModelConfig]:
    """What the file tells, if there is one. An empty one is one that somebody is just writing: labels stay as they are."""
    if not path.is_file():
        return []
    told = from_file(path)
    if not told:
        raise InvalidArgument(
            f"Expected models in {path}. Received: none. Delete it to serve the folder without labels."
        )
    return told


def from_file(path: Path, served: Sequence[ModelConfig] = ()) -> list[ModelConfig]:
    """The models of a text file with TensorFlow Serving's `ModelServerConfig`. Raises InvalidArgument.

    A file without `model_config_list` serves nothing; a later reload may name models. If some are `served`, since the file was
    read before, it is refused with FailedPrecondition: a file that is being written looks so for a moment.
    """
    imports.tensorflow()  # brought by the messages that describe the file; takes some seconds
    from tensorflow_serving.config import model_server_config_pb2

    message = model_server_config_pb2.ModelServerConfig()
    config = text_proto.read(path, message, "tensorflow.serving.ModelServerConfig")
    return from_proto(config, served)


def from_proto(
    config: model_server_config_pb2.ModelServerConfig, served: Sequence[ModelConfig] = ()
) -> list[ModelConfig]:
    """The models of a `ModelServerConfig`, which may not change the platform of those `served`.

    Raises InvalidArgument, or FailedPrecondition if it has no list of models and some are served.

    The first fault is told that TensorFlow Serving would tell, so the checks go over all models one after the other.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise InvalidArgument("Missing custom_model_config_loader in ServerCore Options")
    if served and config.WhichOneof("config") is None:
        raise FailedPrecondition(
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another."
        )
    models = config.model_config_list.config
    _require_unique_names([model.name for model in models])
    paths = [local_folder(model.name, model.base_path) for model in models]
    platforms = [_platform(model) for model in models]
    known = {model.name for model in served}
    for model, platform in zip(models, platforms, strict=True):
        if model.name in known and platform != PLATFORM:
            raise InvalidArgument(
                f"Illegal to change a model's platform. For model {model.name} platform was {PLATFORM} "
                f"and new platform requested is {platform}"
            )
    for model, platform in zip(models, platforms, strict=True):
        if platform != PLATFORM:
            raise InvalidArgument(f"Model {model.name} requests unsupported platform {platform}")
    if any(model.HasField("logging_config") for model in models):
        raise InvalidArgument("No request-logger-creator provided.")
    return [
        ModelConfig(model.name, path, _policy(model.model_version_policy), dict(model.version_labels))
        for model, path in zip(models, paths, strict=True)
    ]


def _require_unique_names(names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InvalidArgument(f"Illegal to list model {name} multiple times in config list")


def local_folder(name: str, base_path: str) -> Path:
    """The folder that the base path of model `name` means: an absolute path, or `file:///folder`. Raises InvalidArgument."""
    if "://" not in base_path:
        if not Path(base_path).is_absolute():
            raise InvalidArgument(f"Expected model {name} to have an absolute path or URI; got base_path()={base_path}")
        return Path(base_path)
    uri = urlsplit(base_path)
    if uri.scheme != "file":
        raise InvalidArgument(
            f"The base path of model {name} must be a folder of this machine, as /folder or file:///folder. "
            f"Received: {base_path}. Mount or copy what lies there."
        )
    return Path(unquote(uri.path))


def _platform(model: model_server_config_pb2.ModelConfig) -> str:
    if not model.model_type:
        if not model.model_platform:
            raise InvalidArgument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform. "
                f'Add model_platform: "tensorflow" to model {model.name}.'
            )
        return str(model.model_platform)
    if model.model_platform:
        raise InvalidArgument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if model.model_type != _TENSORFLOW_TYPE:
        raise InvalidArgument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    return PLATFORM


def _policy(policy: object) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")  # type: ignore[attr-defined]
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(frozenset(policy.specific.versions))  # type: ignore[attr-defined]
    return Latest(policy.latest.num_versions)  # type: ignore[attr-defined]
