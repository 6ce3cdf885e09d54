"""Random changes of training pictures. Each is a function of the example's own seed, so a resumed run repeats none.

random_window   which part of the picture is decoded     window.py
augment         what happens to one picture              geometry.py, colour.py, policies.py, erasing.py
mix             what happens between pictures of a batch mixing.py

Nothing that is off costs anything: what to do is decided when the pipeline is built. An example's random numbers are drawn
at once (draws.py), and no two decisions share one.
"""

from __future__ import annotations

from pipelines.augment.changes import Example, augment
from pipelines.augment.mixing import Batch, mix
from pipelines.augment.window import random_window

__all__ = ["Batch", "Example", "augment", "mix", "random_window"]
