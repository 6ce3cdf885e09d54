"""Finds pictures that are nearly the same: re-encoded, resized, a little brighter.

Candidates are those that random projections of their thumbnails cannot tell apart (Charikar, "Similarity Estimation
Techniques from Rounding Algorithms", 2002): a few tables of short hashes, each bit of which divides the data set in halves, so
that also where all pictures have a white border few of them share a hash. Candidates are compared by their thumbnails.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Thumbnails = npt.NDArray[np.uint8]
"""(N, height, width) grey values."""
Colours = npt.NDArray[np.float64]
"""(N, 3) mean red, green and blue, 0..255"""
Pairs = npt.NDArray[np.int64]
"""(P, 2) numbers of pictures"""

TABLES = 6
BITS = 16
"""Of the hash in each table."""
MAX_DIFFERING_BITS = 10
"""In all tables together."""
MAX_NEIGHBOURS = 500
"""How many of those with the same hash each picture is compared with at most, in each table."""

# Two thumbnails show the same if one is the other times a gain plus an offset, but for RESIDUAL of its variance. Among 2.6
# million pairs of 2,284 files (770 of them stamps of Tux Paint) three pairs of different pictures were below that, drawings
# that differ in a letter or a sign; of 300 pictures 94 % were found again in half their size, all as JPEG of quality 50.
RESIDUAL = 0.01
GAIN = 1.3
"""Largest ratio of their contrasts."""
OFFSET = 32.0
"""Largest difference of their means, of 255."""
TINT = 12.0
"""Largest difference of how much more red, or blue, than green they are in the mean, of 255."""
FLAT = 4.0
"""Thumbnails of a smaller standard deviation show nothing by which they could be told apart."""

_BITS_SET = np.array([number.bit_count() for number in range(2**BITS)], np.uint8)


def hashes(thumbnails: Thumbnails) -> npt.NDArray[np.uint16]:
    """(N, TABLES). Depend on the other thumbnails too; none may be plain."""
    # All sums are of integers and exact, so that they are the same on every machine.
    planes = np.where(np.random.default_rng(0).random((thumbnails[0].size // 2, TABLES * BITS)) < 0.5, 1, -1)
    planes = np.concatenate([planes, -planes]).astype(np.float32)
    sides = np.concatenate(
        [
            part.reshape(len(part), -1).astype(np.float32) @ planes / _contrasts(part)[:, None]
            for part in _parts(thumbnails)
        ]
    )
    bits = sides > np.median(sides, axis=0)
    return np.packbits(bits.reshape(-1, TABLES, BITS), axis=2).view(np.uint16)[..., 0]


def pairs(thumbnails: Thumbnails, colours: Colours, splits: npt.NDArray[np.int64]) -> Pairs:
    """Of nearly the same pictures in different splits (N,), sorted."""
    telling = np.flatnonzero(np.concatenate([_contrasts(part) for part in _parts(thumbnails)]) >= FLAT)
    if not len(telling):
        return np.empty((0, 2), np.int64)
    hashed, tints = hashes(thumbnails[telling]), colours[telling, ::2] - colours[telling, 1:2]
    found = [np.empty((0, 2), np.int64)]
    for keys in hashed.T:
        for first, second in in_one_bucket(keys):
            near = splits[telling[first]] != splits[telling[second]]
            first, second = first[near], second[near]
            near = _differing_bits(hashed[first], hashed[second]) <= MAX_DIFFERING_BITS
            near &= np.abs(tints[first] - tints[second]).max(1, initial=0) <= TINT
            candidates = np.stack([telling[first[near]], telling[second[near]]], 1)
            found.append(candidates[_show_the_same(thumbnails, candidates)])
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _parts(thumbnails: Thumbnails, size: int = 10_000) -> list[Thumbnails]:
    """Few at a time, for floats take much memory."""
    return [thumbnails[start : start + size] for start in range(0, len(thumbnails) or 1, size)]


def _contrasts(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    """(N,) standard deviations."""
    contrasts: npt.NDArray[np.float32] = thumbnails.std((1, 2), dtype=np.float32)
    return contrasts


def in_one_bucket(keys: npt.NDArray[np.uint16]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Places with equal keys: (one place, another) of every pair, but for buckets of more than MAX_NEIGHBOURS."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begin = np.arange(len(keys))
    for distance in range(1, MAX_NEIGHBOURS + 1):
        begin = begin[begin + distance < len(keys)]
        begin = begin[ordered[begin] == ordered[begin + distance]]
        if not len(begin):
            return
        yield order[begin], order[begin + distance]


def _differing_bits(a: npt.NDArray[np.uint16], b: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = _BITS_SET[a ^ b].sum(1, dtype=np.int64)
    return counts


def _show_the_same(thumbnails: Thumbnails, candidates: Pairs, at_once: int = 100_000) -> npt.NDArray[np.bool_]:
    parts = [candidates[start : start + at_once] for start in range(0, len(candidates), at_once)]
    return np.concatenate([np.empty(0, bool)] + [_same(thumbnails[a], thumbnails[b]) for a, b in (p.T for p in parts)])


def _same(a: Thumbnails, b: Thumbnails) -> npt.NDArray[np.bool_]:
    (a_mean, a_std, a_unit), (b_mean, b_std, b_unit) = _normalised(a), _normalised(b)
    correlation = (a_unit * b_unit).mean(1)
    same: npt.NDArray[np.bool_] = (
        (correlation >= np.sqrt(1 - RESIDUAL))
        & (np.maximum(a_std / b_std, b_std / a_std) <= GAIN)
        & (np.abs(a_mean - b_mean) <= OFFSET)
    )
    return same


def _normalised(
    thumbnails: Thumbnails,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(N,) means and standard deviations, and (N, values) of mean 0 and standard deviation 1."""
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    mean, std = values.mean(1), values.std(1)
    return mean, std, (values - mean[:, np.newaxis]) / std[:, np.newaxis]
