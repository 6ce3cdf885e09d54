"""The lecture note's arithmetic, without TensorFlow."""

from __future__ import annotations


def output_size(size: int, kernel_size: int, *, padding: int = 0, strides: int = 1) -> int:
    """Height or width after a convolution or pooling: floor((n - k + p + s) / s).

    padding: p, rows added in total, top and bottom together (lecture note, section "步幅").

    Raises ValueError if the kernel does not fit into the padded input.
    """
    if kernel_size > size + padding:
        raise ValueError(
            f"A kernel of size {kernel_size} does not fit into {size} + {padding} (padding) rows or columns."
        )
    return (size - kernel_size + padding + strides) // strides
