"""Real servers, one for each transport of gRPC, with the models of `contract`."""

from __future__ import annotations

import contextlib
import functools

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


@pytest.fixture(scope="session")
def servers(models, tmp_path_factory):
    """A server by its transport; each is started once, when it is first asked for."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(
        model_config(
            f'name: "half", base_path: "{models}/half", model_version_policy {{ all {{}} }},'
            ' version_labels { key: "stable" value: 7 } version_labels { key: "next" value: 9 }',
            f'name: "zoo", base_path: "{models}/zoo"',
        )
    )
    with contextlib.ExitStack() as stack:

        @functools.cache
        def started(transport):
            arguments = [
                f"--model_config_file={config}",
                f"--grpc_transport={transport}",
                "--allow_version_labels_for_unavailable_models",
                "--rest_api_timeout_in_ms=1500",
            ]
            return stack.enter_context(process.running(arguments))

        yield started


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def server(request, servers):
    return servers(request.param)
