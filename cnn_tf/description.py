"""What a network is made of: a row a layer, with its shape, parameters, multiply-adds and receptive field.

The numbers come from the arithmetic in shapes.py, not from Keras: here Keras only tells how the layers are connected.
Neither TensorFlow nor Keras is imported. Models are functional ones, (B, H, W, C).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from cnn_tf import shapes
from cnn_tf.shapes import ReceptiveField

_Value = TypeVar("_Value", int, ReceptiveField)

Shape = tuple[int, ...]
"""Of a tensor, without the batch axis."""


class LayerRow(NamedTuple):
    """A layer, as `describe` tells it."""

    name: str
    kind: str
    """The name of its class."""
    inputs: tuple[str, ...]
    """Names of the layers it takes its inputs from."""
    output_shape: Shape
    """Without the batch axis."""
    parameters: int
    """Numbers that training changes."""
    statistics: int
    """Numbers that are kept but not learned: moving means and variances, and the weights of layers that are not trainable."""
    macs: int
    """Multiply-adds for one picture. Only convolutions and dense layers count; other layers have 0."""
    kernel_size: tuple[int, int] | None
    """Rows and columns that an output of this layer sees of its input; None: all."""
    strides: tuple[int, int] | None
    """Rows and columns from one to the next."""
    groups: int
    """Parts of the channels that are convolved by themselves."""
    receptive_field: int | None
    """Rows (or columns, the more of both) of the picture that one output depends on; None: it has seen the whole picture."""


class Totals(NamedTuple):
    """Sums over a network. parameters + statistics is what Keras's count_params says."""

    parameters: int = 0
    statistics: int = 0
    macs: int = 0


def describe(model: Any) -> list[LayerRow]:
    """The layers of a functional Keras model, each after its inputs.

    Where branches meet, the largest receptive field counts. A branch that has seen the whole picture does not count beside
    one that has not: the gates of squeeze-and-excitation weigh channels, they do not move anything in the picture.
    At an adaptive pooling, whose windows may differ, the largest window counts.

    Raises ValueError for a model whose picture size is open, for a kind of layer that has weights and no row in KINDS, and
    for a layer that is called twice.
    """
    steps = _steps(model)
    for step in steps:
        if None in step.output_shape:
            raise ValueError(
                f"{step.name} has an open size, {step.output_shape}: build the model for pictures of one size."
            )
    fields = [_trace(steps, axis, ReceptiveField(), Window.receptive_field) for axis in (0, 1)]
    return [_row(step, [field[step.name] for field in fields]) for step in steps]


def totals(rows: Iterable[LayerRow]) -> Totals:
    """What all rows have together."""
    counts = [(row.parameters, row.statistics, row.macs) for row in rows]
    return Totals(*(sum(column) for column in zip(*counts, strict=True)))


def smallest_size(model: Any) -> int:
    """The side of the smallest square picture that does not vanish: every convolution and pooling has an output.

    Layers after the first whose output has the same size for every picture (a global or an adaptive pooling, flattening)
    have no say. The model itself may have been built for any size.

    Raises ValueError for a kind of layer that has weights and no row in KINDS, and for a layer that is called twice.
    """
    steps = _steps(model)
    return next(size for size in itertools.count(1) if _fits(steps, size))


class Window(NamedTuple):
    """What a layer's outputs see of its input, along one axis."""

    kernel_size: int = 1
    strides: int = 1
    padding: int | None = 0
    """Rows added in total; None: as many as "same" adds."""
    adaptive: bool = False
    """As many outputs for every input size; kernel_size and strides are those for the size that the model was built for."""

    def receptive_field(self, before: ReceptiveField) -> ReceptiveField:
        """What the outputs see, if the inputs see `before`."""
        return before.then(self.kernel_size, self.strides)

    def output_size(self, size: int) -> int | None:
        """Rows that come out of `size` rows; None: it does not depend on them. Raises ValueError if there are none."""
        if self.adaptive:
            return None
        padding = self.padding
        if padding is None:
            padding = sum(shapes.same_padding(size, self.kernel_size, self.strides))
        return shapes.output_size(size, self.kernel_size, padding=padding, strides=self.strides)


class Kind(NamedTuple):
    """What there is to know of a kind of layer; as it stands, of one without weights that works on each pixel alone."""

    counts: Callable[[Any, Shape, Shape], Totals] = lambda layer, input_shape, output_shape: Totals()
    """(layer, input shape, output shape) -> its parameters, statistics and multiply-adds."""
    window: Callable[[Any, Shape, int], Window | None] = lambda layer, input_shape, axis: Window()
    """(layer, input shape, axis 0 or 1) -> what an output sees; None: the whole input."""


def _conv(layer: Any, input_shape: Shape, output_shape: Shape) -> Totals:
    return _grouped_conv(layer, input_shape, output_shape, layer.groups)


def _depthwise_conv(layer: Any, input_shape: Shape, output_shape: Shape) -> Totals:
    return _grouped_conv(layer, input_shape, output_shape, input_shape[-1])


def _grouped_conv(layer: Any, input_shape: Shape, output_shape: Shape, groups: int) -> Totals:
    rows, columns, filters = output_shape
    kernel, channels = layer.kernel_size, input_shape[-1]
    return Totals(
        shapes.conv_parameters(kernel, channels, filters, groups=groups, use_bias=layer.use_bias),
        macs=shapes.conv_macs((rows, columns), kernel, channels, filters, groups=groups),
    )


def _dense(layer: Any, input_shape: Shape, output_shape: Shape) -> Totals:
    # On (H, W, C) it is a 1x1 convolution: the same weights at each pixel.
    positions = math.prod(output_shape[:-1])
    return Totals(
        shapes.dense_parameters(input_shape[-1], layer.units, use_bias=layer.use_bias),
        macs=positions * shapes.dense_parameters(input_shape[-1], layer.units, use_bias=False),
    )


def _channel_scale(layer: Any, input_shape: Shape, output_shape: Shape) -> Totals:
    inputs, weights, outputs = layer.equation.replace("->", ",").split(",")
    if inputs != outputs or weights != inputs[-1] or layer.bias_axes is not None:
        raise ValueError(
            f"{layer.name}: of EinsumDense only a scale per channel is known, such as 'bhwc,c->bhwc', without bias. "
            f"Received: {layer.equation!r} with bias_axes {layer.bias_axes!r}."
        )
    return Totals(shapes.norm_parameters(input_shape[-1], center=False))


def _layer_norm(layer: Any, input_shape: Shape, output_shape: Shape) -> Totals:
    return Totals(shapes.norm_parameters(input_shape[-1], center=layer.center, scale=layer.scale))


def _batch_norm(layer: Any, input_shape: Shape, output_shape: Shape) -> Totals:
    learned = _layer_norm(layer, input_shape, output_shape)
    return learned._replace(statistics=shapes.norm_statistics(input_shape[-1]))


def _conv_window(layer: Any, input_shape: Shape, axis: int) -> Window:
    # A dilated kernel skips rows: it sees as far as one that had zeros there.
    kernel_size = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1
    return Window(kernel_size, layer.strides[axis], None if layer.padding == "same" else 0)


def _pool_window(layer: Any, input_shape: Shape, axis: int) -> Window:
    return Window(layer.pool_size[axis], layer.strides[axis], None if layer.padding == "same" else 0)


def _zero_padding(layer: Any, input_shape: Shape, axis: int) -> Window:
    return Window(padding=sum(layer.padding[axis]))


def _adaptive_window(layer: Any, input_shape: Shape, axis: int) -> Window:
    # Of n rows, output i of m is the mean of those from floor(i n / m) up to before ceil((i + 1) n / m).
    size, count = input_shape[axis], layer.output_size
    largest = max(math.ceil((i + 1) * size / count) - i * size // count for i in range(count))
    return Window(largest, max(size // count, 1), adaptive=True)


def _whole(layer: Any, input_shape: Shape, axis: int) -> None:
    return None


KINDS = {
    "Conv2D": Kind(_conv, _conv_window),
    "GroupedConv2D": Kind(_conv, _conv_window),
    "DepthwiseConv2D": Kind(_depthwise_conv, _conv_window),
    "Dense": Kind(_dense),
    "EinsumDense": Kind(_channel_scale),
    "BatchNormalization": Kind(_batch_norm),
    "LayerNormalization": Kind(_layer_norm),
    "ZeroPadding2D": Kind(window=_zero_padding),
    "MaxPooling2D": Kind(window=_pool_window),
    "AveragePooling2D": Kind(window=_pool_window),
    "AdaptiveAveragePooling2D": Kind(window=_adaptive_window),
    "GlobalAveragePooling2D": Kind(window=_whole),
    "GlobalMaxPooling2D": Kind(window=_whole),
    "Flatten": Kind(window=_whole),
}
"""Class name -> what to know of it. Layers without weights that work on each pixel alone need no row."""


class _Step(NamedTuple):
    """A layer or operation in its place in the graph."""

    name: str
    layer: Any
    kind: Kind
    inputs: tuple[str, ...]
    input_shape: Shape  # of the first input; () if there is none
    output_shape: Shape


def _steps(model: Any) -> list[_Step]:
    layers = [(layer, _as_list(layer.input), _as_list(layer.output)) for layer in model.operations]
    makers = {id(output): layer.name for layer, _, outputs in layers for output in outputs}
    used = [tensor for _, inputs, _ in layers for tensor in inputs] + model.outputs
    # Keras tells of the first call alone; the outputs of any other come from nowhere.
    if not all(id(tensor) in makers for tensor in used):
        raise ValueError(f"{model.name} has a layer that is called twice, or was called for another model first.")
    return [
        _Step(
            layer.name,
            layer,
            _kind(layer),
            tuple(makers[id(tensor)] for tensor in inputs),
            tuple(inputs[0].shape[1:]) if inputs else (),
            tuple(outputs[0].shape[1:]),
        )
        for layer, inputs, outputs in layers
    ]


def _as_list(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]


def _kind(layer: Any) -> Kind:
    name = type(layer).__name__
    if name not in KINDS and getattr(layer, "weights", None):
        raise ValueError(f"{layer.name} is a {name}, which has weights but no row in cnn_tf.description.KINDS.")
    return KINDS.get(name, Kind())


def _row(step: _Step, fields: list[ReceptiveField | None]) -> LayerRow:
    layer, input_shape = step.layer, step.input_shape
    counts = step.kind.counts(layer, input_shape, step.output_shape)
    if not getattr(layer, "trainable", True):
        counts = Totals(0, counts.parameters + counts.statistics, counts.macs)
    down, across = (
        (step.kind.window(layer, input_shape, axis) for axis in (0, 1)) if len(input_shape) == 3 else (None, None)
    )
    return LayerRow(
        name=step.name,
        kind=type(layer).__name__,
        inputs=step.inputs,
        output_shape=step.output_shape,
        parameters=counts.parameters,
        statistics=counts.statistics,
        macs=counts.macs,
        kernel_size=(down.kernel_size, across.kernel_size) if down and across else None,
        strides=(down.strides, across.strides) if down and across else None,
        groups=input_shape[-1] if type(layer).__name__ == "DepthwiseConv2D" else getattr(layer, "groups", 1),
        receptive_field=max((field.size for field in fields if field is not None), default=None),
    )


def _trace(
    steps: list[_Step], axis: int, start: _Value, through: Callable[[Window, _Value], _Value | None]
) -> dict[str, _Value | None]:
    """What becomes of `start`, which the picture has along `axis`, at each layer; None once the layer sees the whole picture.

    through: (a layer's window, what its input has) -> what its output has. Where branches meet, the largest counts.
    """
    values: dict[str, _Value | None] = {}
    for step in steps:
        window = step.kind.window(step.layer, step.input_shape, axis)
        before = [value for value in map(values.get, step.inputs) if value is not None]
        if not step.inputs:
            before = [start]
        has_rows = len(step.output_shape) > 2
        values[step.name] = through(window, max(before)) if window and before and has_rows else None
    return values


def _fits(steps: list[_Step], size: int) -> bool:
    try:
        for axis in (0, 1):
            _trace(steps, axis, size, Window.output_size)
    except ValueError:
        return False
    return True
