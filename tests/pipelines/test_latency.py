"""The gate that compares a version's speed with the stable one's, by running both."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import saved_models
import tensorflow as tf
from support import call_cli

from pipelines import checksums, latency, model_card, releases, warmup
from pipelines.errors import DataDamaged, ReleaseRefused

SPEC = tf.TensorSpec((None, 4), tf.float32, name="x")
EQUAL, SLOW, COLD, OTHER, FAILING = 2, 3, 4, 5, 6


def double(x):
    return {"y": x * 2.0}


def double_slowly(x):
    # By way of 40 products of matrices, which no optimisation leaves out.
    start = tf.fill((64, 64), x[0, 0])
    end = tf.while_loop(lambda turn, _: turn < 40, lambda turn, m: (turn + 1, tf.matmul(m, m) / 64.0), (0, start))[1]
    return {"y": x * 2.0 + tf.reduce_mean(end)}


def fail(x):
    with tf.control_dependencies([tf.debugging.Assert(tf.shape(x)[0] > 9, ["too few"])]):
        return {"y": tf.identity(x)}


def add_version(base_path, number, function, spec=SPEC, warm=True):
    folder = saved_models.save(base_path / str(number), serving_default=(function, spec))
    inputs = {spec.name: tf.ones([axis or 1 for axis in spec.shape])}
    warmup.write(folder, "m", {"serving_default": inputs} if warm else {"other": inputs})
    card = {"evaluation": {"accuracy": 0.9, "examples": 100, "data": "d1", "split": "test"}}
    (folder / model_card.JSON_FILE).write_text(json.dumps(card))
    checksums.write_manifest(folder)


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    """A model whose version 1 is stable."""
    base_path = tmp_path_factory.mktemp("models") / "m"
    add_version(base_path, 1, double)
    add_version(base_path, SLOW, double_slowly)
    add_version(base_path, COLD, double, warm=False)
    add_version(base_path, OTHER, double, tf.TensorSpec((None, 5), tf.float32, name="x"))
    add_version(base_path, FAILING, fail)
    shutil.copytree(base_path / "1", base_path / str(EQUAL))
    releases.promote(base_path, 1)
    return base_path


def promote(base_path, version, **options):
    return releases.promote(base_path, version, **{"max_slowdown": 100.0, "dry_run": True, **options})


def test_an_equal_version_passes_and_what_was_measured_is_told(base_path):
    measured = promote(base_path, EQUAL).latency
    assert (measured.version, measured.stable) == ("2", "1")
    assert 0.5 < measured.ratio < 2
    assert min(measured.ms, measured.stable_ms) > 0
    assert promote(base_path, EQUAL, max_slowdown=None).latency is None


def test_a_slower_version_is_refused_unless_that_is_allowed_or_forced(base_path):
    with pytest.raises(
        ReleaseRefused,
        match=r"The same pictures take version 3 [\d.]+ ms and the stable version 1 [\d.]+ ms, "
        r"[\d.]+ times as long in the median turn\. Expected at most 2\.00 times \(--max-slowdown 100\)\. "
        r"Allow more, or promote with --force\.",
    ):
        promote(base_path, SLOW)
    assert promote(base_path, SLOW, max_slowdown=1e6).latency.ratio > 2
    assert promote(base_path, SLOW, force=True).latency is None
    assert releases.read(base_path).labels == {"stable": 1}


def test_the_stable_version_itself_and_the_first_have_nothing_to_compare_with(base_path, tmp_path):
    assert promote(base_path, 1).latency is None
    shutil.copytree(base_path / "1", tmp_path / "new" / "1")
    assert promote(tmp_path / "new", 1).latency is None


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            COLD,
            "m/4 has no warm-up requests for serving_default.*Expected them in assets.extra.*without --max-slowdown",
        ),
        (OTHER, r"m/1 takes x float32 \(None, 4\), the warm-up requests have x float32 \(1, 5\)"),
        (FAILING, "m/6 does not answer, so its speed cannot be measured: .*too few.*with --force"),
    ],
)
def test_what_cannot_be_compared_is_refused(base_path, version, message):
    with pytest.raises(ReleaseRefused, match=message):
        promote(base_path, version)


def test_a_stable_version_without_a_graph_is_told(base_path, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ReleaseRefused, match="1 does not answer, so its speed cannot be measured: SavedModel file"):
        latency.compare(base_path / "2", tmp_path / "1")


def test_the_command_tells_what_was_measured(base_path):
    def promote(version, *more):
        words = ("release", "promote", "m", version, "--max-slowdown", "100", "--dry-run", *more)
        answer = call_cli(*words, "--models", base_path.parent, cwd=base_path.parent)
        return answer.returncode, answer.stdout.strip(), answer.stderr.strip()

    code, out, note = promote("2")
    assert (code, out) == (0, "would be stable: 2 (was 1)")
    assert note.startswith("The same pictures take version 2 ")
    code, out, error = promote("3")
    assert (code, out, error.count("\n")) == (1, "", 0)
    assert "Expected at most 2.00 times" in error
    note = "Latency was not measured: no other version is stable, to compare with."
    assert promote("1") == (0, "would be stable: 1 (as before)", note)
    assert promote("6", "--force") == (0, "would be stable: 6 (was 1)", "")


def test_warm_up_requests_are_read_as_they_were_written(tmp_path):
    assert warmup.read(tmp_path, "a") == []
    inputs = {"x": tf.constant([[1, 2]], tf.uint8), "words": tf.constant([b"\xff", b""])}
    warmup.write(tmp_path, "m", {"a": inputs, "b": {"x": tf.constant(0.0)}})
    [read] = warmup.read(tmp_path, "a")
    assert read.keys() == inputs.keys()
    for key, tensor in inputs.items():
        assert read[key].dtype == tensor.dtype
        np.testing.assert_array_equal(read[key], tensor)
    (tmp_path / warmup.FILE).write_bytes(b"no records at all" * 9)
    with pytest.raises(DataDamaged, match="holds no warm-up requests"):
        warmup.read(tmp_path, "a")
