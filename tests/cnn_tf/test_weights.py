from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import cnn_tf
from cnn_tf import weights
from cnn_tf.options import without_weights

GOLDEN = Path(__file__).parent / "golden"
NETWORKS = sorted(path.stem for path in GOLDEN.glob("*.json"))

sys.path.append(str(GOLDEN))
from fill import fill, pictures  # noqa: E402


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


# vgg16_bn has what there is in the other two, which take long.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.deep] * (n in {"vgg11", "vgg16"})) for n in NETWORKS]
)
def test_the_published_network_and_ours_give_the_same_logits(name):
    expected = golden(name)
    arrays = fill(expected["shapes"], expected["gain"])
    options = weights.published_options(name, Path("x.pth"))
    with without_weights():  # all of which are set
        published = weights.from_torch(name, arrays, "golden", **options)
    for size, logits in expected["logits"].items():
        height, width = map(int, size.split("x"))
        model = published
        if model.input_shape[1:3] != (height, width):
            with without_weights():
                model = cnn_tf.build(name, (height, width, 3), 50, **options)
            assert weights.transfer(published, model) == []
        assert np.std(logits) > 0.5  # else there would be little to tell apart
        difference = np.abs(model(pictures(height, width)).numpy() - logits).max()
        assert difference <= 1e-4
