"""What only a process of its own shows: threads and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import saved_models
import tensorflow as tf

SCRIPT = """
import json, sys
from pathlib import Path
import psutil
from serving.server.engine import EngineOptions, load

process, figures = psutil.Process(), {"threads": [], "memory": []}
load(Path(sys.argv[1]), EngineOptions()).close()
for intra_op in (2, 9):
    before = process.num_threads()
    engine = load(Path(sys.argv[1]), EngineOptions(intra_op_parallelism=intra_op))
    figures["threads"].append(process.num_threads() - before)
    engine.close()
for _ in range(5):
    load(Path(sys.argv[1]), EngineOptions()).close()
    figures["memory"].append(process.memory_info().rss / 2**20)
print(json.dumps(figures))
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    path = saved_models.save(
        tmp_path_factory.mktemp("large") / "1",
        serving_default=(
            saved_models.convolution(channels=512, filters=2048),
            tf.TensorSpec((None, 1, 1, 512), tf.float32, name="x"),
        ),
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return json.loads(done.stdout)


def test_each_model_has_threads_of_its_own(figures):
    few, many = figures["threads"]
    assert many - few == 7


def test_memory_is_given_back(figures):
    # The weights are 37 MB.
    assert figures["memory"][-1] - figures["memory"][0] < 15
