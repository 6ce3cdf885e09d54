from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnn_tf import shapes
from cnn_tf.shapes import ReceptiveField

SIZES = st.integers(1, 40)
KERNELS = st.integers(1, 12)
STRIDES = st.integers(1, 6)

each = settings(derandomize=True, deadline=None, max_examples=200)


def positions(size, kernel, strides):
    """Where a window may begin: counted, not computed."""
    return [start for start in range(0, size, strides) if start + kernel <= size]


# 填充, 步幅


@each
@given(SIZES, KERNELS, st.integers(0, 12), STRIDES)
def test_the_output_has_as_many_rows_as_the_window_has_places(size, kernel, padding, strides):
    places = positions(size + padding, kernel, strides)
    if places:
        assert shapes.output_size(size, kernel, padding=padding, strides=strides) == len(places)
    else:
        with pytest.raises(ValueError, match="does not fit"):
            shapes.output_size(size, kernel, padding=padding, strides=strides)


@each
@given(SIZES, KERNELS, st.integers(0, 12))
def test_the_notes_first_formula_is_that_of_strides_1(size, kernel, padding):
    if kernel <= size + padding:
        assert shapes.output_size(size, kernel, padding=padding) == size - kernel + padding + 1


@each
@given(SIZES, KERNELS, STRIDES)
@example(224, 7, 2)
def test_the_notes_padding_rule_divides_the_size_by_the_strides(size, kernel, strides):
    output = shapes.output_size(size, kernel, padding=kernel - 1, strides=strides)
    assert output == (size + strides - 1) // strides == math.ceil(size / strides)


@each
@given(SIZES, KERNELS, STRIDES)
def test_the_notes_padding_rule_leaves_no_remainder_where_the_strides_divide_the_size(output, kernel, strides):
    assert shapes.output_size(output * strides, kernel, padding=kernel - 1, strides=strides) == output


def test_the_notes_224_to_4_by_5x5_kernels_takes_55_layers():
    size, layers = 224, 0
    while size > 4:
        size, layers = shapes.output_size(size, 5), layers + 1
    assert (size, layers) == (4, 55)


def test_the_notes_picture_of_strides_3_and_2():
    # 3x3 padded to 5x5, a 2x2 kernel, strides 3 downwards and 2 to the right: a 2x2 output.
    height, width = (shapes.output_size(3, 2, padding=2, strides=strides) for strides in (3, 2))
    assert (height, width) == (2, 2)


def test_a_kernel_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="A kernel of size 5 does not fit into 4"):
        shapes.output_size(4, 5)


@pytest.mark.parametrize(("kernel", "top_bottom"), [(1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (4, (2, 1)), (5, (2, 2))])
def test_the_note_pads_even_kernels_more_on_top(kernel, top_bottom):
    assert shapes.note_padding(kernel) == top_bottom


@each
@given(SIZES, KERNELS)
def test_the_notes_padding_keeps_the_size(size, kernel):
    assert shapes.output_size(size, kernel, padding=sum(shapes.note_padding(kernel))) == size


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "begin_end"),
    [
        (28, 2, 1, (0, 1)),
        (28, 4, 1, (1, 2)),
        (28, 5, 1, (2, 2)),
        (224, 7, 2, (2, 3)),
        (225, 7, 2, (3, 3)),
        (112, 3, 2, (0, 1)),
        (113, 3, 2, (1, 1)),
        (224, 11, 4, (3, 4)),
        (224, 1, 2, (0, 0)),
    ],
)
def test_same_padding_is_what_tensorflow_was_measured_to_do(size, kernel, strides, begin_end):
    assert shapes.same_padding(size, kernel, strides) == begin_end


@each
@given(SIZES, KERNELS, STRIDES)
def test_same_padding_adds_as_little_as_gives_the_size_divided_by_the_strides(size, kernel, strides):
    begin, end = shapes.same_padding(size, kernel, strides)
    assert len(positions(size + begin + end, kernel, strides)) == math.ceil(size / strides)
    assert 0 <= begin <= end <= begin + 1
    if begin + end:
        assert len(positions(size + begin + end - 1, kernel, strides)) < math.ceil(size / strides)


@each
@given(SIZES, KERNELS)
def test_same_and_the_note_differ_for_even_kernels_alone(size, kernel):
    same, note = shapes.same_padding(size, kernel), shapes.note_padding(kernel)
    assert note == same if kernel % 2 else note == tuple(reversed(same))


# Receptive fields


@pytest.mark.parametrize(("layers", "size"), [(1, 3), (2, 5), (3, 7)])
def test_three_3x3_convolutions_see_as_far_as_one_7x7(layers, size):
    field = ReceptiveField()
    for _ in range(layers):
        field = field.then(3)
    assert field == (size, 1)


@each
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=4))
def test_a_receptive_field_holds_what_can_be_traced_back_to_the_picture(layers):
    field, first, second = ReceptiveField(), {0}, {1}
    for kernel, strides in layers:
        field = field.then(kernel, strides)
    for kernel, strides in reversed(layers):
        first, second = ({i * strides + k for i in rows for k in range(kernel)} for rows in (first, second))
    assert (max(first) - min(first) + 1, min(second) - min(first)) == field


# Parameters and multiply-adds


@pytest.mark.parametrize(
    ("in_features", "units", "weights", "parameters"),
    [
        (16 * 5 * 5, 120, 48_000, 48_120),
        (256 * 5 * 5, 4096, 26_214_400, 26_218_496),
        (256 * 6 * 6, 4096, 37_748_736, 37_752_832),
        (512 * 7 * 7, 4096, 102_760_448, 102_764_544),
    ],
    ids=["LeNet", "AlexNet as in the note", "AlexNet as in the paper", "VGG"],
)
def test_the_notes_first_dense_layers(in_features, units, weights, parameters):
    assert shapes.dense_parameters(in_features, units, use_bias=False) == weights
    assert shapes.dense_parameters(in_features, units) == parameters


def test_a_convolution_has_one_bias_for_each_output_channel():
    assert shapes.conv_parameters(5, 6, 16) == 16 * (6 * 5 * 5 + 1) == 2416


@each
@given(KERNELS, st.integers(1, 20), st.integers(1, 20))
def test_the_notes_c_i_c_o_k_k_are_the_weights(kernel, channels, filters):
    weights = shapes.conv_parameters(kernel, channels, filters, use_bias=False)
    assert weights == channels * filters * kernel**2
    assert shapes.conv_parameters(kernel, channels, filters) == weights + filters


def test_a_1x1_convolution_is_a_dense_layer_at_each_pixel():
    assert shapes.conv_parameters(1, 192, 64) == shapes.dense_parameters(192, 64)
    assert shapes.conv_macs((28, 28), 1, 192, 64) == 28 * 28 * shapes.dense_parameters(192, 64, use_bias=False)


def test_a_dense_layer_is_a_convolution_with_a_kernel_as_large_as_the_picture():
    assert shapes.conv_parameters((5, 5), 16, 120) == shapes.dense_parameters(16 * 5 * 5, 120)


def test_a_kernel_may_have_two_sides():
    assert shapes.conv_parameters((1, 7), 10, 20) == shapes.conv_parameters((7, 1), 10, 20) == 20 * (10 * 7 + 1)


def test_groups_divide_the_weights_but_not_the_biases():
    assert shapes.conv_parameters(3, 128, 128, groups=32) == 128 * 128 * 9 // 32 + 128
    assert shapes.conv_macs((56, 56), 3, 128, 128, groups=32) == 56 * 56 * 128 * 128 * 9 // 32


def test_a_depthwise_convolution_has_as_many_groups_as_channels():
    assert shapes.conv_parameters(3, 32, 32, groups=32) == 32 * (3 * 3 + 1)


@pytest.mark.parametrize(("channels", "filters"), [(6, 8), (8, 6)])
def test_groups_that_do_not_divide_the_channels_are_refused(channels, filters):
    with pytest.raises(ValueError, match=f"groups 4, channels {channels}, filters {filters}"):
        shapes.conv_parameters(3, channels, filters, groups=4)


# GoogLeNet's block 3a: 192 channels at 28x28 -> 256; (kernel, in channels, filters).
INCEPTION_3A = [(1, 192, 64), (1, 192, 96), (3, 96, 128), (1, 192, 16), (5, 16, 32), (1, 192, 32)]


@pytest.mark.parametrize(
    ("convolutions", "weights", "million_macs"),
    [(INCEPTION_3A, 163_328, 128), ([(3, 192, 256)], 442_368, 347), ([(5, 192, 256)], 1_228_800, 963)],
    ids=["inception 3a", "one 3x3", "one 5x5"],
)
def test_an_inception_block_has_fewer_parameters_and_macs_than_one_convolution(convolutions, weights, million_macs):
    assert sum(shapes.conv_parameters(*row, use_bias=False) for row in convolutions) == weights
    assert round(sum(shapes.conv_macs((28, 28), *row) for row in convolutions) / 1e6) == million_macs


def test_three_3x3_convolutions_have_fewer_weights_than_one_7x7():
    three, one = (
        3 * shapes.conv_parameters(3, 64, 64, use_bias=False),
        shapes.conv_parameters(7, 64, 64, use_bias=False),
    )
    assert three / one == 27 / 49


@pytest.mark.parametrize(("center", "scale", "count"), [(True, True, 128), (True, False, 64), (False, True, 64)])
def test_a_normalisation_learns_an_offset_and_a_scale_for_each_channel(center, scale, count):
    assert shapes.norm_parameters(64, center=center, scale=scale) == count


def test_batch_normalisation_keeps_a_mean_and_a_variance_for_each_channel():
    assert shapes.norm_statistics(64) == 128
