"""The lecture note's arithmetic, without TensorFlow: sizes, padding, receptive fields, parameters and multiply-adds.

Sizes are numbers of rows or of columns: the two axes are alike, so a function speaks of one and is called for each.
"""

from __future__ import annotations

from typing import NamedTuple


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


def note_padding(kernel_size: int) -> tuple[int, int]:
    """Rows to add (on top, at the bottom) so that a convolution with strides 1 keeps the size: p = k - 1 in total.

    Half on each side for an odd kernel; for an even one ceil(p / 2) on top, floor(p / 2) at the bottom (lecture note,
    section "填充"). TensorFlow's and torch's "same" put the odd row at the END instead, which no shape shows, but the
    pictures do: they are one pixel apart.
    """
    padding = kernel_size - 1
    return padding - padding // 2, padding // 2


def same_padding(size: int, kernel_size: int, strides: int = 1) -> tuple[int, int]:
    """Rows that "same" adds (at the beginning, at the end), so that ceil(size / strides) come out.

    As few as do that, the odd one at the end (TensorFlow's documentation of tf.nn, "Notes on padding"). At strides above
    1 they depend on the size: k = 7, s = 2 adds (2, 3) to 224 rows, (3, 3) to 225.
    """
    windows = -(-size // strides)
    padding = max((windows - 1) * strides + kernel_size - size, 0)
    return padding // 2, padding - padding // 2


class ReceptiveField(NamedTuple):
    """What one output of a chain of layers sees of the picture; without arguments, what a pixel sees of itself.

    The field grows with each layer in the chain, though no kernel does: two 3x3 convolutions see 5x5, three 7x7
    (Simonyan and Zisserman, 2014, section 2.3).
    """

    size: int = 1
    """Rows (or columns) of the picture that one output depends on. Near the border some of them are padding."""
    jump: int = 1
    """Rows of the picture between two neighbouring outputs: the product of all strides so far."""

    def then(self, kernel_size: int, strides: int = 1) -> ReceptiveField:
        """The field after one more convolution or pooling: k - 1 more outputs, each a jump further."""
        return ReceptiveField(self.size + (kernel_size - 1) * self.jump, self.jump * strides)


Kernel = int | tuple[int, int]
"""A square kernel's size, or (height, width)."""


def conv_parameters(
    kernel_size: Kernel, in_channels: int, filters: int, *, groups: int = 1, use_bias: bool = True
) -> int:
    """Weights and biases of a convolution: c_o (c_i k k / groups + 1).

    The note's c_i c_o k^2 (section "网络中的网络 NiN") are the weights alone. There is one bias per output channel, c_o
    of them; the note's c_o x c_i (section "二维卷积层的参数") is wrong.

    groups: each convolves its own share of the input channels. A depthwise convolution has groups = in_channels.

    Raises ValueError if the groups do not divide the channels and the filters.
    """
    if in_channels % groups or filters % groups:
        raise ValueError(
            f"groups must divide the input channels and the filters. "
            f"Received: groups {groups}, channels {in_channels}, filters {filters}."
        )
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    return filters * (height * width * (in_channels // groups) + use_bias)


def conv_macs(
    output_shape: tuple[int, int], kernel_size: Kernel, in_channels: int, filters: int, *, groups: int = 1
) -> int:
    """Multiply-adds of a convolution for one picture: every weight is used once at each of the m_h x m_w outputs.

    output_shape: (m_h, m_w). Biases are not counted. Raises ValueError as `conv_parameters` does.
    """
    weights = conv_parameters(kernel_size, in_channels, filters, groups=groups, use_bias=False)
    return output_shape[0] * output_shape[1] * weights


def dense_parameters(in_features: int, units: int, *, use_bias: bool = True) -> int:
    """Weights and biases of a fully connected layer; behind a flattened picture, in_features = c x h x w.

    Its weights are also its multiply-adds for one example. Lecture note, section "网络中的网络 NiN".
    """
    return units * (in_features + use_bias)


def norm_parameters(channels: int, *, center: bool = True, scale: bool = True) -> int:
    """What a normalisation learns: a scale gamma and an offset beta per channel (lecture note, section "Method")."""
    return channels * (center + scale)


def norm_statistics(channels: int) -> int:
    """What batch normalisation keeps for inference but does not learn: a moving mean and variance per channel.

    The note leaves them out; Ioffe and Szegedy, 2015, algorithm 2.
    """
    return 2 * channels
