"""Every attack of `python -m benchmarks.abuse` in a small form, on one real server."""

from __future__ import annotations

import pytest

from benchmarks.abuse import attacks, connections, model
from benchmarks.abuse.victim import Victim, watched
from serving.server import process

REQUESTS = 1000
PATIENCE = 30.0
# MiB that the server may grow by in any of them: requests are of 1 MB here.
MOST_MEMORY = 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    connections.raise_file_limit(4096)
    folder = tmp_path_factory.mktemp("models")
    model.write(folder / "victim" / "1")
    with process.running([str(folder)]) as running:
        yield running


@pytest.mark.parametrize("attack", attacks.ATTACKS)
def test_an_attack_harms_neither_the_server_nor_a_good_client(server, attack):
    victim = Victim(server, "victim", model.pictures(), REQUESTS)
    before = victim.rss()
    with watched(victim, PATIENCE) as watch:
        found = [str(finding) for finding in attacks.ATTACKS[attack](victim)]
    assert found == []
    assert watch.faults == []
    assert watch.answers >= 2
    assert watch.peak - before < MOST_MEMORY
