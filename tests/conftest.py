from __future__ import annotations

import gc
from pathlib import Path

import forks
import pytest
from guardian import guarded
from support import CLASS_NAMES, copy_of_the_run, pictures, write_data_set

from cnn_tf.quiet import import_tensorflow

# Before a test's module does it with all its notes, and with garbage looked for meanwhile.
import_tensorflow()


def pytest_collection_modifyitems(items):
    """The tests of the whole come first: some take minutes, which at the end would leave other workers with nothing to do."""
    items.sort(key=lambda item: item.path.parent.name != "tests")


def pytest_collection_finish():
    """Modules and tests stay: looking for garbage among a million of their objects takes 0.3 s each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left():
    with guarded():
        yield


@pytest.fixture(scope="session", autouse=True)
def tensorflow_is_imported_once(no_process_is_left):
    with forks.forking():
        yield


@pytest.fixture
def unforked():
    """The test's commands are processes from their first line on."""
    with forks.suspended():
        yield


@pytest.fixture(scope="session")
def data_set():
    from pipelines import manifest

    return manifest.from_arrays("patterns", CLASS_NAMES, {"train": pictures(500, 1), "test": pictures(120, 2)})


@pytest.fixture(scope="session")
def tiny_config():
    from pipelines.config import DataConfig, OptimizerConfig, TrainConfig

    return TrainConfig(
        epochs=3,
        data=DataConfig(source="fashion_mnist", batch_size=32, validation_examples=100),
        optimizer=OptimizerConfig(learning_rate=0.02, warmup_epochs=0.5),
    )


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, data_set, tiny_config) -> Path:
    """A folder as a user has it after `cnn-tf train`: data/, runs/patterns/, and models/ with one version."""
    from pipelines import export, train
    from pipelines.runs import Run

    def make(folder):
        # Under the name of a known data set, so that commands reuse it instead of fetching the real one.
        write_data_set(folder / "data" / "fashion_mnist", data_set)
        run = Run(folder / "runs" / "patterns")
        train.train(run, tiny_config, data_set, SilentObserver())
        export.export(run, data_set, folder / "models", "patterns")

    return copy_of_the_run(tmp_path_factory, "workplace", make)


class SilentObserver:
    def begin(self, run, first_step, steps, epochs):
        self.first_step = first_step

    def step(self, progress):
        pass

    def epoch(self, row):
        pass


@pytest.fixture(scope="session")
def server(workplace):
    """A real server process that serves the workplace's models."""
    from serving.server import process

    with process.running([str(workplace / "models")]) as running:
        yield running


@pytest.fixture
def client(server):
    from serving.client import PredictClient

    with PredictClient(server.grpc_address, "patterns") as connected:
        yield connected
