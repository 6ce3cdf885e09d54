"""The tf.data service with real processes: what comes, how often, and what is lost with a worker."""

from __future__ import annotations

import collections
import functools
import itertools
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import forks
import numpy as np
import pytest
import tensorflow as tf
from support import assert_sigterm_is_never_missed, cli

from pipelines import data_service, dataset
from pipelines.config import AugmentConfig, DataConfig, TrainConfig
from pipelines.errors import DataUnavailable, UsageError
from pipelines.manifest import DataSet
from pipelines.storage import Files, Shards, Storage

BATCH = 8


class Server:
    """A dispatcher or a worker in a process of its own."""

    def __init__(self, *arguments: str | int | Path) -> None:
        self.process = subprocess.Popen(
            cli("data", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @functools.cached_property
    def address(self) -> str:
        """HOST:PORT, once it is ready."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()[-1].removeprefix("grpc://")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> None:
        """Asks it to end, which it must do cleanly, unless it was killed."""
        if self.process.returncode is None:
            _ = self.address
            self.process.terminate()
            out, err = self.process.communicate(timeout=60)
            assert (self.process.returncode, out, err) == (0, "", "")


def start_worker(dispatcher: Server) -> Server:
    return Server("worker", "--dispatcher", dispatcher.address)


@pytest.fixture(scope="module")
def dispatcher() -> Iterator[Server]:
    """With two workers."""
    server = Server("dispatcher", "--port", 0)
    workers = [start_worker(server)]
    with forks.suspended():  # imports TensorFlow itself, of which nothing is to be heard
        workers.append(start_worker(server))
    yield server
    for each in (*workers, server):
        each.stop()


@pytest.fixture(scope="module")
def service(dispatcher: Server) -> str:
    return f"grpc://{dispatcher.address}"


def batches(first: int = 0) -> tf.data.Dataset:
    """Batches of positions without end; each takes about a millisecond."""

    def work(position: tf.Tensor) -> dict[str, tf.Tensor]:
        noise = tf.random.stateless_normal((120, 120), tf.stack((position, position)))
        return {"position": position, "sum": tf.reduce_sum(tf.linalg.matmul(noise, noise) @ noise)}

    numbers = tf.data.Dataset.range(first // BATCH, 2**40)
    positions = numbers.flat_map(lambda number: tf.data.Dataset.range(number * BATCH, (number + 1) * BATCH))
    return positions.map(work, num_parallel_calls=2).batch(BATCH, drop_remainder=True)


def first_positions(dataset: tf.data.Dataset) -> Iterator[int]:
    """Of each batch; the rest must follow it."""
    for batch in dataset:
        positions = batch["position"].numpy()
        np.testing.assert_array_equal(positions, positions[0] + np.arange(BATCH))
        yield int(positions[0])


def test_every_batch_comes_exactly_once_from_where_the_training_goes_on(service: str) -> None:
    first, end = 10 * BATCH, 210 * BATCH
    seen = list(
        first_positions(data_service.distribute(batches(first), range(first // BATCH, end // BATCH), BATCH, service))
    )
    assert sorted(seen) == list(range(first, end, BATCH))


def test_a_training_gets_the_batches_that_it_would_make_itself(service: str, data_set: DataSet) -> None:
    config = TrainConfig(
        epochs=2,
        data=DataConfig(batch_size=BATCH),
        augment=AugmentConfig(random_resized_crop=True, flip=True, mixup=0.2),
    )
    split = data_set.splits["test"].take(slice(50))

    def by_position(address: str | None) -> dict[int, dict[str, np.ndarray]]:
        made = dataset.for_training(split, config, (28, 28, 1), 3, first_step=1, service=address)
        return {int(batch["position"][0]): batch for batch in made.as_numpy_iterator()}

    own, shared = by_position(None), by_position(service)
    assert own.keys() == shared.keys()
    *whole, last = sorted(own)
    for position in whole:
        for key, value in own[position].items():
            np.testing.assert_array_equal(value, shared[position][key])
    # Filled up with examples of another epoch.
    assert own[last]["id"].tolist() == shared[last]["id"].tolist()[: len(own[last]["id"])]


def test_with_a_killed_worker_go_only_the_batches_it_had_begun(dispatcher: Server, service: str) -> None:
    third = start_worker(dispatcher)
    _ = third.address
    end = 400 * BATCH
    seen = []
    for number, position in enumerate(
        first_positions(data_service.distribute(batches(), range(end // BATCH), BATCH, service))
    ):
        seen.append(position)
        if number == 100:
            third.kill()
    assert max(collections.Counter(seen).values()) == 1
    assert set(seen) <= set(range(0, end, BATCH))
    assert 400 - len(seen) <= 16


def test_a_restarted_dispatcher_goes_on_and_a_worker_that_joins_helps(tmp_path: Path) -> None:
    first = Server("dispatcher", "--port", 0, "--work-dir", tmp_path / "work")
    servers = [start_worker(first)]
    end = 200 * BATCH
    dataset = data_service.distribute(batches(), range(end // BATCH), BATCH, f"grpc://{first.address}")
    seen = []
    for number, position in enumerate(first_positions(dataset)):
        seen.append(position)
        if number == 50:
            first.kill()
            second = Server("dispatcher", "--port", first.address.rpartition(":")[2], "--work-dir", tmp_path / "work")
            servers += [start_worker(second), second]
    assert sorted(seen) == list(range(0, end, BATCH))
    for server in servers:
        server.stop()


def test_a_server_never_misses_that_it_shall_stop() -> None:
    assert_sigterm_is_never_missed("""
from pipelines import data_service

def wait_and_exit():
    with data_service._asked_to_stop() as wait_to_stop:
        data_service._serve("Ready", wait_to_stop)
""")


def files(folder: Path) -> Storage:
    path = folder / "picture"
    path.write_bytes(b"pixels")
    return Files(np.array([str(path)] * 200_000, object))


def shards(folder: Path) -> Storage:
    path = folder / "shard"
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"pixels"]))
    example = tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example)
        writer.write(example)
    zeros = np.zeros(200_000, np.int64)
    return Shards([str(path)], zeros, zeros + len(example) + 16)


@pytest.mark.parametrize("make", [files, shards])
def test_workers_read_from_storage_whose_tables_have_200_000_rows(
    make: Callable[[Path], Storage], service: str, tmp_path: Path
) -> None:
    read = make(tmp_path).reader()
    dataset = batches().map(lambda batch: {**batch, "encoded": tf.map_fn(read, batch["position"], tf.string)})
    pictures = [
        batch["encoded"].numpy().tolist() for batch in data_service.distribute(dataset, range(4), BATCH, service)
    ]
    assert pictures == [[b"pixels"] * BATCH] * 4


def endless_wait(release: threading.Event) -> Iterator[dict[str, int]]:
    yield {"number": 1}
    release.wait()


def test_a_training_without_workers_gives_up_and_can_be_stopped() -> None:
    release = threading.Event()
    batches = data_service.waiting(endless_wait(release), lambda: False, patience=0.3)
    assert next(batches) == {"number": 1}
    with pytest.raises(DataUnavailable, match="No batch came .* Are its workers running"):
        next(batches)
    calls = itertools.count()
    batches = data_service.waiting(endless_wait(release), lambda: next(calls) > 5, patience=60)
    assert list(batches) == [{"number": 1}]
    release.set()


def test_what_fails_while_batches_are_fetched_is_raised_where_they_are_used() -> None:
    def failing() -> Iterator[dict[str, int]]:
        yield {"number": 1}
        raise DataUnavailable("gone")

    with pytest.raises(DataUnavailable, match="gone"):
        list(data_service.waiting(failing(), lambda: False))


def test_an_unreachable_dispatcher_is_one_line_not_an_hour() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        with pytest.raises(
            DataUnavailable, match=f"No dispatcher answers at localhost:{port} .*cnn-tf data dispatcher"
        ):
            data_service.distribute(batches(), range(1), BATCH, f"grpc://localhost:{port}")


@pytest.mark.parametrize(
    "service", ["localhost:5050", "grpc://localhost", "grpc://:5050", "grpc://localhost:0", "http://a:1"]
)
def test_other_addresses_are_refused(service: str) -> None:
    with pytest.raises(UsageError, match=f"as grpc://HOST:PORT.*Received: {service!r}"):
        data_service.distribute(batches(), range(1), BATCH, service)
