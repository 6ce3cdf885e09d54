from __future__ import annotations

import logging
import re

import pytest

from serving.server.calls import Call
from serving.server.request_log import RequestLog, request_id


@pytest.fixture
def requests(caplog):
    """(level, method, fields) of the request log's lines until now."""
    caplog.set_level(logging.INFO, "serving.requests")
    return lambda: [
        (line.levelname, line.getMessage(), line.fields) for line in caplog.records if line.name == "serving.requests"
    ]


@pytest.mark.parametrize("given_id", ["abc-123", "4bf92f3577b34da6a3ce929d0e0e4736", "user@host:1/2+3=="])
def test_a_sane_request_id_is_kept(given_id):
    call = Call(metadata={"x-request-id": given_id})
    assert request_id(call) == call.request_id == given_id


@pytest.mark.parametrize("given_id", ["", "a\nb", "a b", "\x1b[2J", "x" * 129, "é"])
def test_another_is_replaced_by_one_of_ours(given_id):
    call = Call(metadata={"x-request-id": given_id})
    made = request_id(call)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", made)
    assert request_id(call) == made, "a request keeps its id"
    assert request_id(Call()) != made


def test_errors_are_logged_and_successes_are_not(requests):
    log, call = RequestLog(), Call(peer="1.2.3.4:5", metadata={"x-request-id": "r1"})
    log.answered(call, "Predict", "OK", 0.001, model="m", version=1)
    log.answered(call, "Predict", "NOT_FOUND", 0.0012, "No such", model="m", version=None, signature="")
    log.answered(call, "Predict", "INTERNAL", 0.001, model="m")
    warning, error = requests()
    assert warning == (
        "WARNING",
        "Predict",
        {"status": "NOT_FOUND", "ms": 1.2, "id": "r1", "peer": "1.2.3.4:5", "model": "m", "error": "No such"},
    )
    assert error[0] == "ERROR"


@pytest.mark.parametrize(("which", "lines"), [("none", 0), ("errors", 1), ("all", 2)])
def test_which_requests_are_logged(requests, which, lines):
    log = RequestLog(which)
    log.answered(Call(), "Predict", "OK", 0.001)
    log.answered(Call(), "Predict", "UNAVAILABLE", 0.001)
    assert len(requests()) == lines


def test_a_flood_of_errors_is_limited(requests, caplog):
    now = [0.0]
    log = RequestLog(clock=lambda: now[0])
    for _ in range(1000):
        log.answered(Call(), "Predict", "INVALID_ARGUMENT", 0.001, "x" * 5000)
    assert len(requests()) == 100
    assert len(requests()[0][2]["error"]) < 300
    now[0] = 1.0
    log.answered(Call(), "Predict", "INVALID_ARGUMENT", 0.001)
    assert "900 failed requests were not logged" in caplog.messages
