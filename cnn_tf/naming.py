"""How names, shapes and numbers are read and written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from cnn_tf.errors import NetworkError


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line that lists the known names, and the nearest one if there is one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return f"Unknown {kind} {name!r}. {meant}Expected one of: {', '.join(known)}."


def parse_shape(text: str) -> tuple[int, int, int]:
    """(224, 224, 3) from "224x224x3": height, width and channels of a picture. Raises NetworkError."""
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*){2}", text):
        raise NetworkError(
            f"A picture's shape must be HEIGHTxWIDTHxCHANNELS, all at least 1, such as 224x224x3. Received: {text!r}."
        )
    height, width, channels = map(int, text.split("x"))
    return height, width, channels


def shape_text(shape: Sequence[int]) -> str:
    """(224, 224, 3) -> "224x224x3"."""
    return "x".join(map(str, shape))


def short(number: float) -> str:
    """Three digits and a unit: 1814073344 -> "1.81 G", 61706 -> "61.7 k", 844 -> "844"."""
    for unit in ("", " k", " M", " G", " T"):
        if number < 999.5 or unit == " T":
            break
        number /= 1000
    digits = 0 if not unit or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f}{unit}"
