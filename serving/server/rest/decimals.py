"""Numbers as text: six significant digits if these read back as the same number, else as many as its type can need.

That is C's "%.6g", or "%.9g" (float) and "%.17g" (double), with ".0" behind whole numbers that have no exponent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]

_FEW, _MANY = 6, 9
# Fewer floats are written quicker one by one.
_WORTH_WHILE = 64
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_POWERS = np.array([float(f"1e{power}") for power in range(64)])
_EXPONENTS = np.array([f"e{exponent:+03d}" for exponent in range(-64, 64)], dtype=object)
# How close to the middle between two decimals the scaling below may err.
_DOUBT = 1e-5


def texts(values: Floats) -> Sequence[str]:
    """The JSON texts of a one-dimensional array of float32 or float64."""
    finite = np.isfinite(values)
    by_arithmetic = values.dtype == np.float32 and values.size > _WORTH_WHILE
    written = (_by_arithmetic if by_arithmetic else _by_text)(np.where(finite, values, 0))
    for index in np.flatnonzero(~finite):
        written[index] = _NOT_FINITE[str(values[index])]
    return written


def _by_text(values: Floats) -> list[str]:
    """Writes six digits and reads them back."""
    numbers = values.tolist()
    written = _formatted("%.6g", numbers)
    read = np.array(orjson.loads(f"[{','.join(written)}]"), np.float64).astype(values.dtype)
    inexact = np.flatnonzero(read != values)
    code = "%.9g" if values.dtype == np.float32 else "%.17g"
    for index, text in zip(inexact, _formatted(code, [numbers[i] for i in inexact]), strict=True):
        written[index] = text
    return [text if "." in text or "e" in text else text + ".0" for text in written]


def _formatted(code: str, numbers: Sequence[float]) -> list[str]:
    return (" ".join([code] * len(numbers)) % tuple(numbers)).split()


def _by_arithmetic(values: Floats) -> list[str]:
    """Rounds to six and to nine digits by arithmetic on doubles, which orjson then writes digit by digit.

    No decimal of six digits is so close to the middle between two floats that a double could not tell which one it reads
    back as (all of them were tried); where nine digits are in doubt, C's own rounding decides.
    """
    is_zero = values == 0
    size = np.where(is_zero, 1, np.abs(values)).astype(np.float64)
    exponent = _exponent(size)
    few, few_exponent, _ = _rounded(size, exponent, _FEW)
    many, many_exponent, doubt = _rounded(size, exponent, _MANY)
    short = _scaled(few, few_exponent - (_FEW - 1)).astype(np.float32) == size.astype(np.float32)
    digits = np.where(short, _FEW, _MANY)
    exponent = np.where(short, few_exponent, many_exponent)
    plain = (exponent >= -4) & (exponent < digits)
    shown = np.where(short, few, many) / _POWERS[digits - 1 - np.where(plain, exponent, 0)]
    written = _written(np.copysign(np.where(is_zero, 0, shown), values), exponent, plain)
    for index in np.flatnonzero(doubt & ~short):
        written[index] = f"{values[index]:.9g}"
    return written


def _exponent(size: Floats) -> Integers:
    """The decimal exponent of positive numbers."""
    exponent = np.floor(np.log10(size)).astype(np.int64)
    exponent -= size < _scaled(np.ones_like(size), exponent)
    exponent += size >= _scaled(np.ones_like(size), exponent + 1)
    return exponent


def _scaled(numbers: Floats, exponent: Integers) -> Floats:
    """The numbers times 10**exponent."""
    power: Floats = _POWERS[np.abs(exponent)]
    scaled: Floats = np.where(exponent >= 0, numbers * power, numbers / power)
    return scaled


def _rounded(size: Floats, exponent: Integers, digits: int) -> tuple[Floats, Integers, npt.NDArray[np.bool_]]:
    """The first digits as a whole number, the exponent of the first of them, and where rounding is in doubt."""
    scaled = _scaled(size, digits - 1 - exponent)
    whole = np.rint(scaled)
    doubt = np.abs(np.abs(scaled - whole) - 0.5) < _DOUBT
    carry = whole >= _POWERS[digits]
    return np.where(carry, whole / 10, whole), exponent + carry, doubt


def _written(numbers: Floats, exponent: Integers, plain: npt.NDArray[np.bool_]) -> list[str]:
    text = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1]
    parts = text.split(",") if text else []
    if plain.all():
        return parts
    suffixes = np.where(plain, "", _EXPONENTS[exponent + len(_EXPONENTS) // 2])
    return ",".join(map(str.__add__, parts, suffixes.tolist())).replace(".0e", "e").split(",")
