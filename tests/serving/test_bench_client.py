"""The load generator: what it counts, and the command."""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from collections import Counter

import grpc
import matplotlib
import numpy as np
import pytest
from clients import Failing, serving
from PIL import Image

from cnn_tf import cli
from serving import wire
from serving.client import PredictClient, TensorSpec
from serving.client.bench import figure, load, report, requests
from serving.client.bench.load import Load, Measured
from serving.client.pictures import WrongUse
from serving.wire import messages_pb2 as pb

MODEL = ["--model=patterns", "--warm-up=0", "--seconds=0.3"]


def put(send, **wanted):
    return asyncio.run(load.measure(send, Load(**{"callers": None, "rate": None, "warm_up": 0, **wanted})))


def test_a_closed_loop_has_as_many_requests_under_way_as_callers():
    under_way, most = set(), 0

    async def send():
        nonlocal most
        request = object()
        under_way.add(request)
        most = max(most, len(under_way))
        await asyncio.sleep(0)  # the others' turn
        under_way.remove(request)

    measured = put(send, callers=3, seconds=0.1)
    assert most == 3
    assert len(measured.latencies) > 3
    assert measured.seconds >= 0.1


def test_an_open_loop_waits_for_no_answer():
    """Else it would wait for the first one for ever."""
    ten, sent = asyncio.Event(), []

    async def send():
        sent.append(len(sent))
        if len(sent) == 10:
            ten.set()
        await ten.wait()

    measured = put(send, rate=200, seconds=0.5)
    assert len(measured.latencies) == len(sent) >= 10


def test_an_open_loop_counts_from_when_a_request_was_due():
    sent = []

    async def send():
        sent.append(time.perf_counter())
        while len(sent) == 1 and time.perf_counter() < sent[0] + 0.2:
            pass  # nothing else runs here meanwhile, and some 40 requests become due

    measured = put(send, rate=200, seconds=0.5)
    assert max(measured.latencies[1:]) > 0.05, "what could not be sent in time was late"


def test_the_warm_up_is_not_counted():
    sent = []

    async def send():
        sent.append(len(sent))
        await asyncio.sleep(0)

    measured = put(send, callers=1, seconds=0.1, warm_up=0.1)
    assert 0 < len(measured.latencies) < len(sent)


def test_answers_that_take_longer_than_the_load_are_counted():
    """The warm-up's answers come once the time is over."""
    end = time.perf_counter() + 0.05

    async def late():
        while time.perf_counter() < end:
            await asyncio.sleep(0)  # the others' turn

    measured = put(late, callers=2, seconds=0.01, warm_up=0.01)
    assert len(measured.latencies) == 2


def test_failures_are_counted_by_status_and_apart():
    answer = Failing(grpc.StatusCode.UNAVAILABLE, 5)
    request = pb.PredictRequest()
    wire.fill(request.inputs["x"], np.ones(2, np.float32))

    async def run(address):
        async with grpc.aio.insecure_channel(address) as channel:
            predict = channel.unary_unary(wire.PREDICT)
            send = lambda: predict(request.SerializeToString(), timeout=10)  # noqa: E731
            return await load.measure(send, Load(callers=1, rate=None, seconds=0.2, warm_up=0))

    with serving(answer) as address:
        measured = asyncio.run(run(address))
    assert measured.failures == {"UNAVAILABLE": 5}
    assert len(measured.latencies) == len(answer.asked) - 5 > 0
    assert report.notes(measured)[0] == "Failed, and not in the percentiles: UNAVAILABLE 5."


def of_1000():
    return Measured(array("d", np.random.default_rng(0).permutation(np.arange(1, 1001)) / 1000), seconds=2.0)


def asked(**options):
    return report.Asked(
        "host:1", "m", 2, 49_217, Load(**{"callers": 1, "rate": None, "seconds": 2, "warm_up": 1, **options})
    )


def test_percentiles_are_exact():
    expected = {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000}
    assert report.percentiles(of_1000()) == pytest.approx(expected)
    assert report.rate(of_1000()) == 500
    assert report.percentiles(Measured(seconds=1)) == {}


def test_what_was_asked_is_told_in_words():
    assert str(asked()) == "m at host:1: closed loop, 1 caller, 2 examples a request (49.2 KB), 2 s"
    assert "open loop, 1,500 requests/s" in str(asked(callers=None, rate=1500.0))


def test_a_client_that_is_the_bottleneck_says_so():
    assert report.notes(Measured(array("d", [1]), cpu=0.5)) == []
    assert "took 97% of a CPU" in report.notes(Measured(array("d", [1]), cpu=0.97))[0]
    assert "Nothing was answered" in report.notes(Measured(failures=Counter(UNKNOWN=1)))[0]
    assert report.notes(Measured(cpu=1.0)) == [
        "No request was due in that time: ask for more --seconds, or a higher --rate."
    ]


def test_the_picture_names_what_it_shows(tmp_path):
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.save(tmp_path / "many.svg", asked(), of_1000())
        figure.save(tmp_path / "one.svg", asked(), Measured(array("d", [0.004]), seconds=2.0))
        figure.save(tmp_path / "slow.svg", asked(), Measured(array("d", [11.5]), seconds=12.0))
    many, one, slow = ((tmp_path / f"{name}.svg").read_text() for name in ("many", "one", "slow"))
    for text in ("Latency of m by percentile", "500 answers/s", "Latency, ms", "99.9 %", "p99 990 ms", "max 1,000 ms"):
        assert text in many
    assert "max 4.00 ms" in one
    assert "Latency, s" in slow
    assert "max 11.5 s" in slow
    assert ">p50 " in many
    assert ">p50 " not in one, "one answer has no percentiles"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (TensorSpec("uint8", (None, 4)), (np.uint8, (3, 4), 255)),
        (TensorSpec("int8", (2,)), (np.int8, (2,), 127)),
        (TensorSpec("float16", (None, 4)), (np.float16, (3, 4), 1)),
        (TensorSpec("bool", ()), (np.bool_, (), 1)),
    ],
)
def test_values_are_made_up_by_the_signature(spec, expected):
    dtype, shape, most = expected
    values = requests._random("x", spec, 3)
    assert (values.dtype, values.shape) == (dtype, shape)
    assert values.max() <= most


@pytest.mark.parametrize(
    "spec", [TensorSpec("string", (None,)), TensorSpec("float32", (None, None)), TensorSpec("float32", None)]
)
def test_values_that_cannot_be_made_up_are_told(spec):
    with pytest.raises(WrongUse, match=f"Values for input 'x', {spec.dtype} .* Pass --picture FILE"):
        requests._random("x", spec, 3)


@pytest.fixture
def picture(tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_the_request_is_the_clients_own(server, picture):
    with PredictClient(server.grpc_address, "patterns") as client:
        made = pb.PredictRequest.FromString(requests.encoded(client, None, "", 3))
        sent = pb.PredictRequest.FromString(requests.encoded(client, picture, "", 2))
    assert (made.model_spec.name, made.model_spec.signature_name) == ("patterns", "serving_default")
    assert wire.to_array(made.inputs["images"]).shape == (3, 28, 28, 1)
    assert sent.model_spec.signature_name == "serving_bytes"
    assert wire.to_array(sent.inputs["image_bytes"]).tolist() == [picture.read_bytes()] * 2


def bench(*arguments):
    """The command's exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench-client", *map(str, arguments)])
    return ended.value.code


def test_measures_a_server(server, tmp_path, capsys):
    assert bench(server.grpc_address, *MODEL, "--json", tmp_path / "a.json", "--plot", tmp_path / "a.png") == 0
    told = json.loads((tmp_path / "a.json").read_text())
    assert (told["loop"], told["callers"], told["failed"]) == ("closed", 4, {})
    assert told["answered"] == pytest.approx(told["requests_per_second"] * told["seconds"])
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["max"]
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size == (1350, 750)
    shown = capsys.readouterr().out
    assert "closed loop, 4 callers, 1 example a request (0.8 KB), 0.3 s" in shown
    assert f"{told['requests_per_second']:,.1f}" in shown


def test_sends_a_picture_at_a_rate(server, picture, tmp_path):
    assert bench(server.grpc_address, *MODEL, "--rate=50", "--picture", picture, "--json", tmp_path / "a.json") == 0
    told = json.loads((tmp_path / "a.json").read_text())
    assert (told["loop"], told["rate"]) == ("open", 50)
    assert 3 < told["answered"] < 40


def test_ends_with_1_if_requests_fail(server, tmp_path, capsys):
    (tmp_path / "no.png").write_bytes(b"no picture")
    assert bench(server.grpc_address, *MODEL, "--picture", tmp_path / "no.png", "--plot", tmp_path / "a.svg") == 1
    assert "Failed, and not in the percentiles: INVALID_ARGUMENT" in capsys.readouterr().out
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model=none"], 1, "Servable not found for request: Latest(none)"),
        (["--model=patterns", "--signature=serving_bytes"], 2, "Values for input 'image_bytes', string (batch), cannot"),
        (["--model=patterns", "--signature=none"], 2, "The model has no signature 'none'. Name one with --signature: "),
        (["--model=m", "--callers=2", "--rate=2"], 2, "Pass --callers for a closed loop or --rate for an open one."),
        (["--model=m", "--plot=a.gif"], 2, "--plot writes files that end in .svg or .png. Received: a.gif."),
        (["--model=m", "--json=none/a.json"], 2, "No such folder: none. Make it first."),
        (["--model=m", "--picture=none.png"], 2, "none.png"),
        ([], 2, "--model"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_told_in_a_line(server, capsys, arguments, code, message):
    assert bench(server.grpc_address, *arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
