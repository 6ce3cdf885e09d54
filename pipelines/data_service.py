"""Batches prepared on other machines: TensorFlow's tf.data service, as two commands and one function.

    cnn-tf data dispatcher --work-dir DIR        once: hands out the work
    cnn-tf data worker --dispatcher HOST:PORT    on each machine that reads, decodes and augments; the data set's folder
                                                 must be there too, at the same path
    cnn-tf train ... --data-service grpc://HOST:PORT

The dispatcher hands each batch's number to one worker, so a batch is the same as without the service, and comes exactly once,
but batches come as they are ready. With a worker that dies go those that it had begun: each comes at most once. A worker that
joins takes part at once. A dispatcher with a work directory may be restarted on its port.

TensorFlow's servers listen on all of the machine's addresses and run any graph they are sent: for trusted networks only.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cnn_tf.quiet import import_tensorflow
from pipelines.errors import DataUnavailable, PipelineError, UsageError

if TYPE_CHECKING:
    import tensorflow as tf

CONNECT_SECONDS = 10.0

# TensorFlow asks a dead worker for the rest of its share for an hour. What ends a training instead is that batches come
# which are so far past its last one that none before can still be on its way.
SPARE_BATCHES = 64

# How long no batch may come before a training gives up.
PATIENCE_SECONDS = 120.0

Batch = dict[str, Any]
WaitToStop = Callable[[], object]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")]


def distribute(dataset: tf.data.Dataset, steps: range, batch_size: int, service: str) -> tf.data.Dataset:
    """The batches of `steps`, prepared by workers; fewer only if a worker dies.

    dataset: begins with a range of batch numbers and goes on past the last step, without end at best; its elements are
        dictionaries with "position", int64 (batch_size,), the places of its examples in the order of the training.
    service: "grpc://HOST:PORT" of the dispatcher.

    Raises UsageError for another form of address, DataUnavailable if nobody listens there.
    """
    import tensorflow as tf

    host, port = _address(service, "grpc://HOST:PORT")
    _require_reachable(host, port)
    distributed = dataset.apply(
        tf.data.experimental.service.distribute(
            processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
            service=f"grpc://{host}:{port}",
            compression=None,  # pixels hardly shrink
            target_workers="ANY",
        )
    )
    spare = distributed.take_while(lambda batch: batch["position"][0] < (steps.stop + SPARE_BATCHES) * batch_size)
    return spare.filter(lambda batch: batch["position"][0] < steps.stop * batch_size).take(len(steps))


def waiting(
    batches: Iterator[Batch], stopping: Callable[[], bool], patience: float = PATIENCE_SECONDS
) -> Iterator[Batch]:
    """The batches, until the process is asked to stop: TensorFlow waits for workers for ever and lets nobody interrupt it.

    Raises DataUnavailable if none comes for `patience` seconds.
    """
    arrived: queue.Queue[Batch | Exception | None] = queue.Queue(maxsize=1)
    threading.Thread(target=_hand_over, args=(batches, arrived), daemon=True).start()
    while not stopping():
        item = _next(arrived, stopping, patience)
        if isinstance(item, Exception):
            raise item
        if item is None:
            return
        yield item


def _hand_over(batches: Iterator[Batch], arrived: queue.Queue[Batch | Exception | None]) -> None:
    try:
        for batch in batches:
            arrived.put(batch)
        arrived.put(None)
    except Exception as error:  # is raised where the batches are used
        arrived.put(error)


def _next(
    arrived: queue.Queue[Batch | Exception | None], stopping: Callable[[], bool], patience: float
) -> Batch | Exception | None:
    end = time.monotonic() + patience
    while not stopping():
        try:
            return arrived.get(timeout=0.2)
        except queue.Empty:
            if time.monotonic() > end:
                return DataUnavailable(
                    f"No batch came from the tf.data service for {patience:.0f} s. Are its workers running? Start one with "
                    "cnn-tf data worker; the same command then goes on from the last checkpoint."
                )
    return None


def dispatcher(
    port: Port = 5050,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", file_okay=False, help="Keep what was handed out here, to go on after a restart."),
    ] = None,
) -> None:
    """Hand out the work of preparing batches, until SIGTERM or Ctrl-C.

    Example: cnn-tf data dispatcher --work-dir service
    """
    with _asked_to_stop() as wait_to_stop:
        import_tensorflow()
        import tensorflow as tf

        if work_dir is not None:
            work_dir.mkdir(parents=True, exist_ok=True)
        config = tf.data.experimental.service.DispatcherConfig(
            port=port, work_dir=work_dir and str(work_dir.resolve()), fault_tolerant_mode=work_dir is not None
        )
        try:
            server = tf.data.experimental.service.DispatchServer(config)
        except tf.errors.OpError as error:
            raise _not_started(error, port) from error
        _serve(f"Ready. Dispatcher: {server.target}", wait_to_stop)


def worker(
    dispatcher: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the dispatcher listens.")],
    port: Port = 0,
    host: Annotated[str, typer.Option(help="Name by which trainings reach this machine.")] = "localhost",
) -> None:
    """Prepare batches for trainings, until SIGTERM or Ctrl-C.

    Example: cnn-tf data worker --dispatcher localhost:5050
    """
    with _asked_to_stop() as wait_to_stop:
        address = _address(dispatcher, "HOST:PORT")
        _require_reachable(*address, patience=CONNECT_SECONDS)  # it may be just starting, too
        import_tensorflow()
        import tensorflow as tf

        config = tf.data.experimental.service.WorkerConfig(
            dispatcher_address="{}:{}".format(*address), worker_address=f"{host}:%port%", port=port
        )
        try:
            server = tf.data.experimental.service.WorkerServer(config)
        except tf.errors.OpError as error:
            raise _not_started(error, port) from error
        _serve(f"Ready. Worker: {server._address}", wait_to_stop)  # no public name tells the port that was free


def _serve(ready: str, wait_to_stop: WaitToStop) -> NoReturn:
    """Ends the process: TensorFlow would wait, up to a minute, for batches that nobody wants any more."""
    typer.echo(ready)
    wait_to_stop()
    sys.stdout.flush()
    os._exit(0)


@contextmanager
def _asked_to_stop() -> Iterator[WaitToStop]:
    """Keeps SIGTERM and Ctrl-C, however early they come, for the function it gives, which returns once one is there.

    TensorFlow's threads, made later, leave them to it too. No handler: one that is due when the main thread, in C already,
    is about to wait, would run when the wait ends, so never.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield lambda: signal.sigwait(STOP_SIGNALS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _address(text: str, form: str) -> tuple[str, int]:
    """Host and port of an address in the form "grpc://HOST:PORT" or "HOST:PORT". Raises UsageError."""
    scheme = form.removesuffix("HOST:PORT")
    match = re.fullmatch(re.escape(scheme) + r"([^/:\s]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text)
    if not match or not 0 < int(match[2]) < 65536:
        raise UsageError(
            f"Expected the dispatcher's address as {form}, such as {scheme}localhost:5050. Received: {text!r}."
        )
    return match[1], int(match[2])


def _require_reachable(host: str, port: int, patience: float = 0.0) -> None:
    """TensorFlow would try for an hour. patience: seconds. Raises DataUnavailable."""
    end = time.monotonic() + patience
    while True:
        try:
            return socket.create_connection((host.strip("[]"), port), CONNECT_SECONDS).close()
        except OSError as error:
            if time.monotonic() > end:
                raise _unreachable(host, port, error) from error
            time.sleep(0.2)


def _unreachable(host: str, port: int, error: OSError) -> DataUnavailable:
    return DataUnavailable(
        f"No dispatcher answers at {host}:{port} ({error.strerror or error}). Start one there: "
        f"cnn-tf data dispatcher --port {port}"
    )


def _not_started(error: Exception, port: int) -> PipelineError:
    reason = str(error).splitlines()[0].rstrip(".")
    return DataUnavailable(f"The server could not start on port {port}: {reason}. Choose another --port.")
