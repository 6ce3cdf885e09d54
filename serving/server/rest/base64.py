"""Base64 as TensorFlow Serving takes it: the standard alphabet; padding may be left out, but not be wrong."""

from __future__ import annotations

import binascii

import pybase64

from serving import errors

_BLANKS = {ord(blank): None for blank in " \t\n\v\f\r"}


def decode(text: str) -> bytes:
    """Raises InvalidArgument."""
    for candidate in (text, text.translate(_BLANKS)):
        # Wrong padding is not made right by more of it.
        padding = "" if candidate.endswith("=") else "=" * (-len(candidate) % 4)
        try:
            return pybase64.b64decode(candidate + padding, validate=True)
        except (binascii.Error, ValueError):
            continue
    raise errors.InvalidArgument("Unable to base64 decode")


def encode(value: bytes) -> str:
    """Padded."""
    return pybase64.b64encode(value).decode()
