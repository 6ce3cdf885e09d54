"""Versions, labels, signatures and reloads as clients see them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from saved_models import save
from support import until

from serving import errors
from serving.client import PredictClient
from serving.server import process

ONE = np.ones(1, np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """x -> version times x: version 1 takes float32, version 2 takes int32."""
    folder = tmp_path_factory.mktemp("models")
    for version, dtype in ((1, tf.float32), (2, tf.int32)):
        spec = tf.TensorSpec((None,), dtype, name="x")
        save(folder / "times" / str(version), serving_default=(lambda x, by=version: {"y": by * x}, spec))
    return folder


def config(models, versions, **labels):
    """Text of a models.config."""
    named = "".join(f'version_labels {{ key: "{label}" value: {version} }} ' for label, version in labels.items())
    specific = " ".join(f"versions: {version}" for version in versions)
    return (
        f'model_config_list {{ config {{ name: "times" base_path: "{models}/times" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ {specific} }} }} {named} }} }}"
    )


@pytest.fixture
def client(models, tmp_path):
    file = tmp_path / "models.config"
    file.write_text(config(models, [1], stable=1))
    flags = ["--allow_version_labels_for_unavailable_models", "--file_system_poll_wait_seconds=0.1"]
    running = process.running([f"--model_config_file={file}", *flags])
    with running as server, PredictClient(server.grpc_address, "times", timeout=60) as connected:
        yield connected


def test_versions_labels_and_a_reload(client, models):
    assert client.predict({"x": ONE}).version == 1
    assert client.predict({"x": ONE}, label="stable").version == 1
    client.reload(config(models, [1, 2], stable=1, canary=2))
    until(lambda: client.wait_until_ready() == 2)
    with pytest.raises(errors.InvalidArgument, match="int32"):
        client.predict({"x": ONE})
    assert client.predict({"x": ONE.astype(np.int32)})["y"].tolist() == [2], "its signature was asked for again"
    assert client.predict({"x": ONE.astype(np.int32)}, label="canary").version == 2
    assert client.predict({"x": ONE}, version=1)["y"].tolist() == [1]
    assert client.metadata(version=1) != client.metadata(label="canary")
    client.reload(config(models, [1, 2], stable=2))
    assert client.predict({"x": ONE.astype(np.int32)}, label="stable").version == 2, "the label has moved"
    with pytest.raises(errors.InvalidArgument, match=r"Expected the text of a models.config"):
        client.reload("models: times")
    with pytest.raises(ValueError, match="a version or a label"):
        client.predict({"x": ONE}, version=1, label="stable")


def test_a_reload_takes_the_text_and_not_the_file(client, models):
    with pytest.raises(errors.InvalidArgument, match=r"such as path.read_text\(\). Received: PosixPath"):
        client.reload(models / "models.config")
