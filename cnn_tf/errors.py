"""The exceptions of `cnn_tf`.

    NetworkError (a ValueError)
    ├── PictureVanishes     a picture is too small for a layer
    └── WeightsMismatch     weights from elsewhere do not fit, or cannot be read

Messages are one line for people: what is wrong, what was expected, what was received, and the way out.
"""


class NetworkError(ValueError):
    """Base of all. `exit_code` is what a command ends with."""

    exit_code = 2


class PictureVanishes(NetworkError):
    """A layer has nothing left to work on: the picture is too small for the network."""


class WeightsMismatch(NetworkError):
    """Weights from elsewhere do not fit the network, or their file cannot be read."""
