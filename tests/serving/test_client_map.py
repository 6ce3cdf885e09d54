"""Pictures without end through both clients: order, back-pressure, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import closing, contextmanager

import grpc
import numpy as np
import pytest
from clients import Failing, echo, serving
from PIL import Image
from support import CLASS_NAMES, pictures, until

from serving import errors, wire
from serving.client import AsyncPredictClient, PredictClient, Refused
from serving.wire import messages_pb2 as pb


def numbers():
    """Pictures without end, each of one value that tells which it is."""
    return (np.array([number], np.int32) for number in itertools.count())


class Counted:
    """An iterator that counts what was taken from it."""

    def __init__(self, items):
        self._items, self.taken = iter(items), 0

    def __iter__(self):
        return self

    def __next__(self):
        self.taken += 1
        return next(self._items)


class Gate:
    """Echoes, but answers nothing until it is open; knows how many ask at once."""

    def __init__(self):
        self.open, self.waiting, self.most, self._lock = threading.Event(), 0, 0, threading.Lock()

    def __call__(self, request, context):
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self.open.wait(60)
        with self._lock:
            self.waiting -= 1
        return echo(request, context)


@pytest.fixture
def client(server, connect):
    with connect(server.grpc_address, "patterns") as connected:
        yield connected


@contextmanager
def asking(connect, answer, **options):
    """A client of a server that gives `answer` to every prediction for x, int32 (batch, 1)."""
    found = pb.SignatureDefMap()
    taken = found.signature_def["serving_default"].inputs["x"]
    taken.dtype = pb.DT_INT32
    for size in (-1, 1):
        taken.tensor_shape.dim.add(size=size)
    response = pb.GetModelMetadataResponse()
    response.metadata["signature_def"].value = found.SerializeToString()
    with serving(answer, response.SerializeToString()) as address, connect(address, "m", **options) as client:
        yield client


def values(answers):
    return [int(answer["y"][0]) for answer in answers]


def test_answers_come_in_the_order_of_the_pictures(client):
    images, labels = pictures(23, seed=3)
    answers = list(client.map(images, batch_size=4, in_flight=3))
    assert [answer.label for answer in answers] == [CLASS_NAMES[label] for label in labels]
    expected = client.predict(images)["logits"]
    np.testing.assert_allclose([answer["logits"] for answer in answers], expected, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_the_last_batch_may_be_short(client, count):
    assert len(list(client.map(pictures(5, 1)[0][:count], batch_size=4))) == count


def test_what_is_refused_or_cannot_be_read_holds_its_place_and_fails_no_other(client, tmp_path):
    images, labels = pictures(9, seed=5)
    files = [tmp_path / f"{number}.png" for number in range(9)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image.squeeze(-1)).save(file)
    files[2].write_bytes(b"no picture")
    files[7].unlink()
    answers = list(client.map(map(str, files), batch_size=8, outputs=["top_labels", "top_scores"]))
    good = [number for number in range(9) if number not in (2, 7)]
    assert [answers[number].label for number in good] == [CLASS_NAMES[labels[number]] for number in good]
    assert isinstance(answers[2], Refused)
    assert isinstance(answers[2].error, errors.InvalidArgument)
    assert answers[2].reason.startswith("the model refuses it: it is no JPEG")
    assert isinstance(answers[7].error, FileNotFoundError)
    assert answers[7].reason == "cannot be read: No such file or directory"


def test_pictures_of_another_shape_are_refused_before_they_are_sent(client):
    images = [np.zeros((28, 28, 1), np.uint8), np.zeros((9, 9, 1), np.uint8), np.zeros((28, 28, 1), np.uint8)]
    first, second, third = client.map(images)
    assert isinstance(second, Refused)
    assert (first.version, third.version) == (1, 1)


def test_what_is_wrong_with_every_picture_ends_the_run(client):
    with pytest.raises(errors.InvalidArgument, match="label"):
        list(client.map(pictures(3, 1)[0], label="none"))
    with pytest.raises(errors.FailedPrecondition, match="has no signature 'none'"):
        list(client.map(pictures(3, 1)[0], signature="none"))


def test_files_are_read_as_the_caller_says(client, tmp_path):
    Image.fromarray(pictures(1, seed=2)[0][0].squeeze(-1)).save(tmp_path / "real.png")
    (answer,) = client.map([tmp_path / "alias"], read=lambda file: file.with_name("real.png").read_bytes())
    assert answer.label == CLASS_NAMES[pictures(1, seed=2)[1][0]]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"in_flight": 0}])
def test_sizes_below_1_are_wrong_at_once(options):
    with PredictClient("host:1", "m") as client, pytest.raises(ValueError, match="must be 1 or more. Received: 0"):
        client.map([], **options)


@pytest.mark.parametrize("one", ["photo.png", b"\x89PNG"])
def test_one_picture_is_no_iterable_of_them(one):
    with PredictClient("host:1", "m") as client, pytest.raises(TypeError, match="See predict for one"):
        client.map(one)


def test_no_more_is_taken_than_is_in_flight(connect):
    gate, given = Gate(), Counted(numbers())
    with asking(connect, gate) as client, closing(client.map(given, batch_size=2, in_flight=3)) as answers:
        opening = threading.Thread(target=lambda: (until(lambda: gate.waiting == 3), gate.open.set()))
        opening.start()
        for number, answer in enumerate(itertools.islice(answers, 20)):
            assert int(answer["y"][0]) == number
            assert given.taken - number <= 2 * 3
        opening.join()
    assert gate.most == 3


def test_answers_that_are_there_are_given_before_more_is_taken():
    """Or a slow source would hold them back."""
    order = []

    def slow():
        for number in range(3):
            until(lambda wanted=number: len(order) >= wanted, timeout=20)
            yield np.array([number], np.int32)

    with asking(PredictClient, echo) as client:
        given = client.map(slow(), batch_size=1, in_flight=1)
        for answer in given:
            order.append(int(answer["y"][0]))
    assert order == [0, 1, 2]


def test_a_passing_failure_is_tried_again_and_a_lasting_one_raised(connect):
    images = [np.array([number], np.int32) for number in range(4)]
    with asking(connect, Failing(grpc.StatusCode.UNAVAILABLE, 2)) as client:
        assert values(client.map(images, batch_size=2, in_flight=1)) == [0, 1, 2, 3]
    answer = Failing(grpc.StatusCode.UNAVAILABLE, 99)
    with asking(connect, answer, retry=None) as client, pytest.raises(errors.Unavailable, match="as told"):
        list(client.map(numbers(), batch_size=2, in_flight=1))
    assert len(answer.asked) == 1


def test_an_error_of_the_source_is_raised_as_it_is(connect):
    def broken():
        yield np.array([0], np.int32)
        raise ZeroDivisionError

    with asking(connect, echo) as client, pytest.raises(ZeroDivisionError):
        list(client.map(broken()))


class Hanging:
    """Answers the number 0, and nothing else; counts who waits, and who has given up."""

    def __init__(self):
        self.waiting = self.gone = 0
        self._lock = threading.Lock()

    def __call__(self, request, context):
        if 0 in wire.to_array(pb.PredictRequest.FromString(request).inputs["x"]):
            return echo(request, context)
        ended = threading.Event()
        if not context.add_callback(ended.set):  # it was cancelled before this thread had its turn
            ended.set()
        with self._lock:
            self.waiting += 1
        ended.wait(60)
        with self._lock:
            self.gone += 1
        return echo(request, context)


@pytest.mark.parametrize("hedge_after", [None, 0.01])
def test_closing_cancels_what_is_under_way(connect, hedge_after):
    hanging = Hanging()
    with asking(connect, hanging, hedge_after=hedge_after) as client:
        answers = client.map(numbers(), batch_size=1, in_flight=2, timeout=60)
        assert values([next(answers)]) == [0]
        answers.close()
        until(lambda: hanging.gone == hanging.waiting, timeout=20)


def test_interrupting_cancels_what_is_under_way():
    hanging = Hanging()

    def interrupted():
        yield from itertools.islice(numbers(), 1, 3)
        until(lambda: hanging.waiting == 2)
        raise KeyboardInterrupt

    with asking(PredictClient, hanging) as client, pytest.raises(KeyboardInterrupt):
        list(client.map(interrupted(), batch_size=1, in_flight=4, timeout=60))
    assert hanging.waiting == 2
    until(lambda: hanging.gone == 2, timeout=20)


def test_an_asynchronous_source_and_a_task_that_is_cancelled():
    hanging = Hanging()

    async def source():
        for number in numbers():
            yield number

    async def run():
        async with AsyncPredictClient(address, "m") as client:
            async for answer in client.map(source(), batch_size=1, in_flight=3, timeout=60):
                seen.append(int(answer["y"][0]))

    async def watch():
        task = asyncio.create_task(run())
        await asyncio.to_thread(until, lambda: hanging.waiting == 3)
        task.cancel()
        await task

    seen = []
    with asking(PredictClient, hanging) as client, pytest.raises(asyncio.CancelledError):
        address = client.address
        asyncio.run(watch())
    assert seen == [0]
    until(lambda: hanging.gone == 3, timeout=20)
