"""Real servers, one for each transport of gRPC, with the models of `contract`."""

from __future__ import annotations

import pytest
from contract import model_config, zoo
from saved_models import half_plus_two

from serving.server import process


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """half/ with versions 7 and 8 (which adds 3), zoo/ with version 1."""
    folder = tmp_path_factory.mktemp("contract")
    half_plus_two(folder / "half" / "00000007")
    half_plus_two(folder / "half" / "8", 3.0)
    zoo(folder / "zoo" / "1")
    return folder


@pytest.fixture(scope="session", params=["http2", "grpcio"])
def server(request, models, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(
        model_config(
            f'name: "half", base_path: "{models}/half", model_version_policy {{ all {{}} }},'
            ' version_labels { key: "stable" value: 7 } version_labels { key: "next" value: 9 }',
            f'name: "zoo", base_path: "{models}/zoo"',
        )
    )
    arguments = [
        f"--model_config_file={config}",
        f"--grpc_transport={request.param}",
        "--allow_version_labels_for_unavailable_models",
        "--rest_api_timeout_in_ms=1500",
    ]
    with process.running(arguments) as running:
        yield running
