from __future__ import annotations

import pytest
from fake_models import Loader

from serving.server import memory, retries, storage


@pytest.fixture(scope="package", autouse=True)
def little_garbage():
    """So that collecting what an unloaded version left takes no time."""
    memory.set_aside()


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def quick(monkeypatch):
    """Files are settled as soon as they are written, and changed ones are tried at once."""
    monkeypatch.setattr(storage, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(retries, "FIRST_BACK_OFF_SECONDS", 0.0)
