from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageEnhance, ImageOps

from pipelines.augment import augment, boxes, colour, draws, erasing, geometry, mix, mixing, policies, random_window
from pipelines.cache import as_it_is
from pipelines.config import AugmentConfig

OPTIONS = {
    "flip": {"flip": True},
    "shift": {"shift": 3},
    "rotation": {"rotation": 30.0},
    "brightness": {"brightness": 0.5},
    "contrast": {"contrast": 0.5},
    "saturation": {"saturation": 0.5},
    "hue": {"hue": 0.3},
    "randaugment": {"policy": "randaugment"},
    "trivial_augment_wide": {"policy": "trivial_augment_wide"},
    "augmix": {"policy": "augmix"},
    "erasing": {"erasing": 0.7},
}
COLOURLESS = {"saturation", "hue"}


def picture(height=24, width=31, channels=3, seed=0):
    """Neither flat nor noise: some values are frequent, as equalize and autocontrast need it."""
    random = np.random.default_rng(seed)
    slope = np.linspace(30, 180, width)[np.newaxis, :, np.newaxis]
    return np.clip(slope + random.normal(0, 12, (height, width, channels)), 0, 255).astype(np.uint8)


def example(image, seed=(1, 2)):
    return {"image": tf.constant(image), "label": tf.constant(0, tf.int64), "seed": tf.constant(seed, tf.int64)}


def over_seeds(config, image, seeds, threads=16):
    """The augmented pictures of many seeds, from a pipeline of several threads."""
    change = augment(config)
    data = tf.data.Dataset.range(seeds).map(
        as_it_is(
            lambda number: change({"image": tf.constant(image), "seed": tf.stack((tf.constant(7, tf.int64), number))})
        ),
        num_parallel_calls=threads,
    )
    return np.stack([changed["image"] for changed in data.as_numpy_iterator()])


def largest_difference(actual, expected):
    return np.abs(np.asarray(actual).astype(int) - np.asarray(expected).astype(int)).max()


# Every option


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_picture_is_a_function_of_the_seed_however_it_is_computed(name, channels):
    image, config = picture(channels=channels), AugmentConfig(**OPTIONS[name])
    parallel = over_seeds(config, image, 12)
    assert (parallel.shape, parallel.dtype) == ((12, *image.shape), np.uint8)
    different = len(np.unique(parallel.reshape(12, -1), axis=0))
    assert different == 1 if channels == 1 and name in COLOURLESS else different >= 2
    eager, graph = augment(config), tf.function(augment(config), autograph=False)
    for number in range(4):
        for function in (eager, graph):
            changed = function(example(image, (7, number)))
            np.testing.assert_array_equal(changed["image"], parallel[number])
            assert changed["label"] == 0


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 9, 1), (3, 2, 3), (57, 13, 1)])
def test_odd_sizes_stay(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    everything = functools.reduce(lambda joined, option: joined | option, OPTIONS.values(), {}) | {"policy": "none"}
    assert over_seeds(AugmentConfig(**everything), image, 5).shape == (5, *shape)
    for operation in policies.TRIVIAL_AUGMENT_WIDE:
        assert operation.apply(tf.constant(image), tf.constant(operation.strongest, tf.float32)).shape == shape


def test_nothing_on_changes_nothing():
    given_example = example(picture())
    assert augment(AugmentConfig())(given_example) is given_example


def test_decisions_do_not_share_random_numbers():
    """Whether a picture is flipped tells nothing about where it is moved to, and nothing about its brightness."""
    image = np.zeros((9, 9, 1), np.uint8)
    image[4, 3] = 100
    config = AugmentConfig(flip=True, shift=2, brightness=0.5)
    changed = over_seeds(config, image, 600)[..., 0]
    places = np.array([np.unravel_index(one.argmax(), one.shape) for one in changed])
    values = changed.max(axis=(1, 2))
    facts = np.column_stack((places[:, 0], places[:, 1], values))
    correlation = np.corrcoef(facts.T)
    assert np.abs(correlation - np.eye(3)).max() < 0.15
    assert set(places[:, 0]) == {2, 3, 4, 5, 6}
    assert set(places[:, 1]) == {1, 2, 3, 4, 5, 6, 7}


def test_stages_draw_independent_numbers():
    stages = (draws.WINDOW, draws.CHANGES, draws.MIXING, draws.MIXUP, draws.CUTMIX)
    seeds = tf.data.Dataset.range(1000).map(lambda number: tf.stack((tf.constant(0, tf.int64), number)))
    drawn = seeds.map(lambda seed: tf.concat([draws.uniform(seed, stage, 1) for stage in stages], axis=0))
    numbers = np.stack(list(drawn.as_numpy_iterator()))
    assert np.abs(np.corrcoef(numbers.T) - np.eye(5)).max() < 0.15


@given(st.integers(1, 5000), st.floats(0, 1 - 2**-23, width=32))
def test_whole_numbers_stay_below_their_count(count, number):
    assert 0 <= draws.below(count, tf.constant(number)) < count


# Windows


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    seed=st.integers(0, 2**62),
    area=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)).map(sorted),
)
def test_windows_are_whole_pixels_inside_and_of_the_asked_shape(size, seed, area, ratio):
    config = AugmentConfig(crop_area=tuple(area), crop_ratio=tuple(ratio))
    window = random_window(config)(tf.constant(size, tf.int32), tf.constant((3, seed), tf.int64)).numpy()
    assert window.dtype == np.float32
    pixels = window.astype(float) * (size + size)
    top, left, height, width = whole = np.round(pixels).astype(int)
    assert np.abs(pixels - whole).max() < 1e-3
    assert top >= 0
    assert left >= 0
    assert 1 <= height <= size[0] - top
    assert 1 <= width <= size[1] - left
    # Sides are rounded to pixels, so the bounds hold for a box of half a pixel more or less; one pixel is the least.
    assert (width - 0.51) / (height + 0.51) <= ratio[1] or width == 1
    assert (width + 0.51) / (height - 0.51) >= ratio[0] or height == 1


def test_the_area_of_windows_is_even_over_its_range():
    window = random_window(AugmentConfig(crop_area=(0.1, 0.5)))
    seeds = tf.data.Dataset.range(1000).map(lambda number: tf.stack((tf.constant(0, tf.int64), number)))
    windows = np.stack(list(seeds.map(lambda seed: window(tf.constant([480, 500]), seed)).as_numpy_iterator()))
    areas = windows[:, 2] * windows[:, 3]
    counts, _ = np.histogram(areas, bins=8, range=(0.095, 0.505))
    assert counts.sum() == 1000
    assert counts.min() > 1000 / 8 * 0.7
    ratios = np.log(windows[:, 3] * 500 / (windows[:, 2] * 480))
    assert np.abs(np.quantile(ratios, [0.25, 0.5, 0.75]) - np.log(4 / 3) * np.array([-0.5, 0, 0.5])).max() < 0.05
    places = windows[:, :2] / (1 - windows[:, 2:])
    assert np.abs(places.mean(axis=0) - 0.5).max() < 0.05


@pytest.mark.parametrize(
    ("size", "expected"), [((10, 1000), (0, 493, 10, 13)), ((1000, 10), (493, 0, 13, 10)), ((30, 30), (0, 0, 30, 30))]
)
def test_where_no_try_fits_it_is_the_middle(size, expected):
    config = AugmentConfig(crop_area=(1.0, 1.0) if size[0] == size[1] else (0.9, 1.0))
    window = random_window(config)(tf.constant(size), tf.constant((0, 0), tf.int64))
    # Of a square, a try fits whenever its ratio is near enough to 1, and then it is the whole as well.
    np.testing.assert_allclose(window * tf.constant(size + size, tf.float32), expected, atol=1e-2)


@given(st.lists(st.floats(0, 1 - 2**-23, width=32), min_size=boxes.NUMBERS, max_size=boxes.NUMBERS))
@settings(max_examples=40, deadline=None)
def test_the_first_fitting_try_is_taken(numbers):
    """Against torchvision's algorithm, written as a loop."""
    height, width, area, ratio = 40, 90, (0.3, 1.0), (0.75, 4 / 3)
    corner, sides = boxes.random_box(tf.constant([height, width]), tf.constant(numbers, tf.float32), area, ratio)
    for number in range(boxes.TRIES):
        target = (area[0] + (area[1] - area[0]) * numbers[number]) * height * width
        low, high = math.log(ratio[0]), math.log(ratio[1])
        shape = math.exp(low + (high - low) * numbers[boxes.TRIES + number])
        tall, wide = math.sqrt(target / shape), math.sqrt(target * shape)
        if round(tall) <= height and round(wide) <= width:
            assert np.abs(sides.numpy() - (tall, wide)).max() <= 0.51
            break
        if tall < height + 0.501 and wide < width + 0.501:  # so near that single precision may see it fit
            return
    else:
        assert sides.numpy().tolist() == [0, 0]
    assert (corner.numpy() >= 0).all()
    assert (corner + sides <= (height, width)).numpy().all()


# Geometry


def test_two_flips_are_none():
    image = picture()
    np.testing.assert_array_equal(geometry.flip(tf.constant(image)), image[:, ::-1])
    np.testing.assert_array_equal(geometry.flip(geometry.flip(tf.constant(image))), image)


def test_half_of_the_pictures_are_flipped():
    image = picture(4, 5)
    flipped = (over_seeds(AugmentConfig(flip=True), image, 1000) == image[:, ::-1]).all(axis=(1, 2, 3))
    assert 430 < flipped.sum() < 570


@given(down=st.integers(-40, 40), right=st.integers(-40, 40))
@settings(max_examples=40, deadline=None)
def test_translation_moves_and_leaves_black(down, right):
    image = picture() | 1
    moved = geometry.translate(tf.constant(image), down, right).numpy()
    expected = ImageChops.offset(Image.fromarray(image), right, down)
    black = moved == 0
    np.testing.assert_array_equal(moved[~black], np.asarray(expected)[~black])
    assert (~black).sum() == max(24 - abs(down), 0) * max(31 - abs(right), 0) * 3


@pytest.mark.parametrize("rotate", [geometry.rotate, geometry.rotate_smoothly])
@pytest.mark.parametrize("size", [8, 9])
def test_quarter_turns_are_exact(rotate, size):
    image = picture(size, size)
    for quarters in range(-2, 3):
        turned = rotate(tf.constant(image), tf.constant(90.0 * quarters))
        np.testing.assert_array_equal(turned, np.rot90(image, quarters))


@pytest.mark.parametrize("degrees", [-137.0, -10.0, 3.0, 45.0])
def test_turns_as_pillow_does(degrees):
    image = picture(40, 31)
    expected = Image.fromarray(image).rotate(degrees, Image.Resampling.NEAREST)
    same = (geometry.rotate(tf.constant(image), tf.constant(degrees)).numpy() == np.asarray(expected)).all(axis=-1)
    assert same.mean() > 0.98  # nearest of two equally near pixels
    smooth = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR)).astype(int)
    inner = np.asarray(Image.new("L", (31, 40), 255).rotate(degrees)).astype(bool)
    inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    inner[[0, -1]] = inner[:, [0, -1]] = False
    ours = geometry.rotate_smoothly(tf.constant(image), tf.constant(degrees)).numpy().astype(int)
    assert np.abs(ours - smooth)[inner].max() <= 1


def test_shears_move_rows_and_columns():
    image = np.zeros((9, 9, 1), np.uint8)
    image[:, 4] = 255
    sheared = geometry.shear_x(tf.constant(image), tf.constant(1.0)).numpy()[..., 0]
    np.testing.assert_array_equal(sheared, 255 * np.eye(9, dtype=np.uint8))
    sheared = geometry.shear_y(tf.constant(image.swapaxes(0, 1)), tf.constant(-1.0)).numpy()[..., 0]
    np.testing.assert_array_equal(sheared, 255 * np.eye(9, dtype=np.uint8)[::-1])


# Colour

factors = st.floats(0, 2, width=32)


@given(factor=factors, channels=st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_brightness_multiplies(factor, channels):
    image = picture(channels=channels)
    expected = np.clip(np.round(image * np.float32(factor)), 0, 255)
    np.testing.assert_array_equal(colour.jitter(tf.constant(image), brightness=factor), expected)


@given(factor=factors, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_factors_as_pillow_has_them(factor, seed):
    image = picture(seed=seed)
    image[..., 0] //= 2  # not grey
    pillow = Image.fromarray(image)
    for ours, theirs in (
        (functools.partial(colour.jitter, brightness=factor), ImageEnhance.Brightness),
        (functools.partial(colour.jitter, saturation=factor), ImageEnhance.Color),
        (functools.partial(colour.jitter, contrast=factor), ImageEnhance.Contrast),
        (functools.partial(colour.sharpen, factor=factor), ImageEnhance.Sharpness),
    ):
        # Pillow rounds down, and its greys to whole numbers first.
        assert largest_difference(ours(tf.constant(image)), theirs(pillow).enhance(factor)) <= 2


@given(share=st.floats(-0.5, 0.5, width=32), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_hue_turns_the_colour_plane_and_keeps_the_brightness(share, seed):
    image = np.random.default_rng(seed).integers(100, 156, (5, 7, 3), np.uint8)
    yiq = tf.image.rgb_to_yiq(tf.constant(image, tf.float32)).numpy()
    angle = 2 * math.pi * share
    turned = yiq.copy()
    turned[..., 1] = math.cos(angle) * yiq[..., 1] - math.sin(angle) * yiq[..., 2]
    turned[..., 2] = math.sin(angle) * yiq[..., 1] + math.cos(angle) * yiq[..., 2]
    expected = np.clip(tf.image.yiq_to_rgb(turned), 0, 255)
    changed = colour.jitter(tf.constant(image), hue=share).numpy()
    assert np.abs(changed - expected).max() < 0.6


def test_a_third_of_the_circle_brings_red_towards_green_and_half_to_the_complement():
    red = tf.constant([[[160, 100, 100]]], tf.uint8)
    thirds = {colour.jitter(red, hue=share).numpy().argmax() for share in (1 / 3, -1 / 3)}
    assert thirds == {1, 2}
    assert colour.jitter(red, hue=0.5).numpy().argmin() == 0


def test_jitter_is_its_parts_one_after_the_other():
    image = np.random.default_rng(0).integers(90, 160, (9, 8, 3), np.uint8)
    parts = {"hue": 0.1, "saturation": 1.2, "contrast": 0.8, "brightness": 1.3}
    together = colour.jitter(tf.constant(image), **parts)
    single = tf.constant(image)
    for name in ("saturation", "hue", "contrast", "brightness"):
        single = colour.jitter(single, **{name: parts[name]})
    assert largest_difference(together, single) <= 4  # each rounds


def test_greys_have_neither_saturation_nor_hue():
    grey = picture(channels=1)
    np.testing.assert_array_equal(colour.jitter(tf.constant(grey), saturation=0.3, hue=0.4), grey)
    as_rgb = np.repeat(grey, 3, axis=-1)
    assert largest_difference(colour.jitter(tf.constant(as_rgb), saturation=0.3, hue=0.4), as_rgb) <= 1


def pillow(function, image):
    """Of a picture with one channel or three."""
    return np.asarray(function(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image))).reshape(
        image.shape
    )


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterizes_as_pillow_does(bits):
    image = picture()
    expected = pillow(lambda one: ImageOps.posterize(one, bits), image)
    np.testing.assert_array_equal(colour.posterize(tf.constant(image), bits), expected)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 99.5, 128.0, 255.0])
def test_solarizes_as_pillow_does(threshold):
    image = picture()
    image[0, :2] = [[0], [255]]
    expected = pillow(lambda one: ImageOps.solarize(one, threshold), image)
    np.testing.assert_array_equal(colour.solarize(tf.constant(image), threshold), expected)


@given(seed=st.integers(0, 999), channels=st.sampled_from([1, 3]), flat=st.booleans())
@settings(max_examples=40, deadline=None)
def test_equalizes_and_stretches_as_pillow_does(seed, channels, flat):
    image = picture(channels=channels, seed=seed)
    if flat:
        image[..., 0] = seed % 256
    np.testing.assert_array_equal(colour.equalize(tf.constant(image)), pillow(ImageOps.equalize, image))
    stretched = colour.autocontrast(tf.constant(image))
    assert largest_difference(stretched, pillow(ImageOps.autocontrast, image)) <= 1  # Pillow rounds down
    for channel in range(channels):
        if image[..., channel].min() < image[..., channel].max():
            assert (tf.reduce_min(stretched[..., channel]), tf.reduce_max(stretched[..., channel])) == (0, 255)


# Policies


def each(table, image, strength):
    """What each operation of a policy makes of the picture, with the sign that leaves its value positive."""
    apply = policies.applying(table)
    numbers = tf.constant(0.9), tf.constant(strength)
    return [apply(tf.constant(image), tf.constant(index), *numbers).numpy() for index in range(len(table))]


@pytest.mark.parametrize("table", [policies.RANDAUGMENT, policies.TRIVIAL_AUGMENT_WIDE, policies.AUGMIX])
def test_every_operation_of_a_table_does_something_else(table):
    image = picture()
    image[..., 0] //= 2
    changed = each(table, image, 0.5)
    assert len({one.tobytes() for one in changed}) == len(table)
    np.testing.assert_array_equal(changed[policies.IDENTITY], image)


def test_at_strength_zero_only_the_contrast_changes():
    """Autocontrast and equalize have no strength; solarizing at 255 inverts white alone."""
    image = np.clip(picture(), 0, 254)
    same = [largest_difference(changed, image) == 0 for changed in each(policies.RANDAUGMENT, image, 0.0)]
    assert [index for index, unchanged in enumerate(same) if not unchanged] == [7, 8]


def test_randaugment_chooses_among_all_of_its_operations():
    image = picture()
    change = policies.randaugment(1, 20.0)
    numbers = np.full((len(policies.RANDAUGMENT), change.numbers), 0.9, np.float32)
    numbers[:, 0] = (np.arange(len(numbers)) + 0.5) / len(numbers)
    changed = [change.apply(tf.constant(image), tf.constant(row)).numpy() for row in numbers]
    np.testing.assert_array_equal(changed, each(policies.RANDAUGMENT, image, 20 / 30))


def test_randaugment_applies_as_many_as_asked():
    """Twice the translation to the right by 31 * 150 / 331 * 3 / 30 pixels: 1 each."""
    image = picture()
    right = [(2 + 0.5) / 14, 0.9, 0.0]
    twice = policies.randaugment(2, 3.0).apply(tf.constant(image), tf.constant(right + right, tf.float32))
    np.testing.assert_array_equal(twice, geometry.translate(tf.constant(image), 0, 2))


def test_trivial_augment_has_its_own_ranges():
    image = picture(80, 80)
    up = tf.constant([(3 + 0.5) / 14, 0.1, 0.999])
    changed = policies.trivial_augment_wide().apply(tf.constant(image), up)
    np.testing.assert_array_equal(changed, geometry.translate(tf.constant(image), -32, 0))


def test_augmix_is_a_mean_of_picture_and_chains():
    image, change = picture(), policies.augmix()
    numbers = np.random.default_rng(0).random(change.numbers, np.float32)
    numbers[0] = 0  # the picture's share is 1
    np.testing.assert_array_equal(change.apply(tf.constant(image), tf.constant(numbers)), image)
    chains = numbers[1:].reshape(policies.AUGMIX_CHAINS, -1)
    chains[:, 1], chains[:, 2] = 0, (7 + 0.5) / 9  # one operation each: autocontrast
    numbers[0] = 0.5
    expected = (image.astype(float) + colour.autocontrast(tf.constant(image)).numpy()) / 2
    mixed = change.apply(tf.constant(image), tf.constant(numbers)).numpy()
    assert np.abs(mixed - expected).max() <= 0.51


# Erasing


def test_erases_one_box_of_noise_in_the_asked_share_of_pictures():
    image = np.zeros((40, 40, 3), np.uint8)
    changed = over_seeds(AugmentConfig(erasing=0.3), image, 1000)
    erased = changed[changed.any(axis=(1, 2, 3))]
    assert 240 < len(erased) < 360
    for one in erased:
        rows, columns = (np.flatnonzero(one.any(axis=axes)) for axes in ((1, 2), (0, 2)))
        box = one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.count_nonzero(box) > 0.9 * box.size  # noise is black in one of 256 values
        assert erasing.AREA[0] * 0.6 < box.size / image.size < erasing.AREA[1] * 1.1
    noise = erased[erased > 0]
    assert abs(noise.mean() - 128) < 2
    assert (np.bincount(noise, minlength=256)[1:] > 0).all()


# Mixing


def batch(size=32, height=16, width=20, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return {
        "image": tf.constant(random.integers(0, 256, (size, height, width, channels), np.uint8)),
        "label": tf.constant(np.arange(size) % 5, tf.int64),
        "seed": tf.constant(np.column_stack((np.full(size, 3), np.arange(size))), tf.int64),
        "weight": tf.ones(size),
    }


def in_graph_and_eagerly(function, given_batch):
    eager, graph = function(given_batch), tf.function(function)(given_batch)
    (pipeline,) = tf.data.Dataset.from_tensors(given_batch).map(function, num_parallel_calls=16)
    for name in eager:
        np.testing.assert_array_equal(eager[name], graph[name])
        np.testing.assert_array_equal(eager[name], pipeline[name])
    return {name: value.numpy() for name, value in eager.items()}


def test_nothing_on_leaves_the_batch():
    given_batch = batch()
    assert mix(AugmentConfig(flip=True), 5)(given_batch) is given_batch


def test_smoothing_spreads_a_share_over_all_classes():
    given_batch = batch(4)
    smooth = in_graph_and_eagerly(mix(AugmentConfig(label_smoothing=0.1), 5), given_batch)
    np.testing.assert_array_equal(smooth["image"], given_batch["image"])
    np.testing.assert_allclose(smooth["target"], 0.9 * np.eye(5)[:4] + 0.02, rtol=1e-6)


def test_mixup_is_the_mean_that_the_target_says():
    given_batch = batch(channels=1)
    mixed = in_graph_and_eagerly(mix(AugmentConfig(mixup=0.4), 5), given_batch)
    share = mixed["target"][np.arange(32), given_batch["label"]][:, np.newaxis, np.newaxis, np.newaxis]
    image = given_batch["image"].numpy().astype(float)
    expected = share * image + (1 - share) * np.roll(image, -1, axis=0)
    different = given_batch["label"].numpy() != np.roll(given_batch["label"], -1)
    assert np.abs(mixed["image"] - expected)[different].max() <= 0.501
    np.testing.assert_array_equal(mixed["label"], given_batch["label"])
    np.testing.assert_array_equal(mixed["weight"], given_batch["weight"])


def test_cutmix_pastes_a_box_whose_area_is_the_partners_share():
    given_batch = batch()
    given_batch["image"] = tf.tile(tf.constant(np.arange(32, dtype=np.uint8))[:, None, None, None], (1, 16, 20, 3))
    given_batch["label"] = tf.range(32, dtype=tf.int64)
    mixed = in_graph_and_eagerly(mix(AugmentConfig(cutmix=1.0), 32), given_batch)
    for number, (image, target) in enumerate(zip(mixed["image"], mixed["target"], strict=True)):
        pasted = (image == (number + 1) % 32).all(axis=-1)
        assert set(np.unique(image)) <= {number, (number + 1) % 32}
        assert pasted.mean() == pytest.approx(target[(number + 1) % 32], abs=1e-6)
        assert np.linalg.matrix_rank(pasted) <= 1  # a rectangle
    shares = mixed["target"][np.arange(32), np.arange(32)]
    assert shares.std() > 0.15


@pytest.mark.parametrize("alpha", [0.001, 0.2, 1.0, 8.0])
def test_shares_are_beta_distributed(alpha):
    seeds = tf.data.Dataset.range(1500).map(lambda number: tf.stack((tf.constant(0, tf.int64), number)))
    shares = np.array(list(seeds.map(lambda seed: mixing._beta(seed, alpha)).as_numpy_iterator()))
    assert ((shares >= 0) & (shares <= 1)).all()
    if alpha > 0.01:
        assert shares.mean() == pytest.approx(0.5, abs=0.04)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_the_last_batch_may_be_smaller():
    data = tf.data.Dataset.from_tensor_slices(batch(5)).batch(3).map(mix(AugmentConfig(mixup=1.0, cutmix=1.0), 5))
    assert [mixed["target"].shape for mixed in data] == [(3, 5), (2, 5)]


def test_with_both_on_each_is_as_often():
    given_batch = batch(300, 8, 8, 1)
    values = np.where(np.arange(300) % 2, 200, 0).astype(np.uint8)
    given_batch["image"] = tf.tile(tf.constant(values)[:, None, None, None], (1, 8, 8, 1))
    given_batch["label"] = tf.constant(np.arange(300) % 2, tf.int64)
    mixed = tf.function(mix(AugmentConfig(mixup=4.0, cutmix=4.0), 2))(given_batch)
    blended = ((mixed["image"].numpy() > 2) & (mixed["image"].numpy() < 198)).all(axis=(1, 2, 3))
    assert 115 < blended.sum() < 185


@given(
    size=st.integers(1, 5),
    mixup=st.sampled_from([0, 0.1, 1]),
    cutmix=st.sampled_from([0, 0.1, 1]),
    smoothing=st.sampled_from([0, 0.1]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_targets_are_shares_of_one(size, mixup, cutmix, smoothing, seed):
    config = AugmentConfig(mixup=mixup, cutmix=cutmix, label_smoothing=smoothing)
    mixed = mix(config, 7)(batch(size, 5, 7, seed=seed))
    if "target" in mixed:
        assert (mixed["image"].shape, mixed["image"].dtype) == ((size, 5, 7, 3), tf.uint8)
        assert (mixed["target"].numpy() >= 0).all()
        np.testing.assert_allclose(tf.reduce_sum(mixed["target"], axis=1), 1, rtol=1e-5)


def test_the_partner_does_not_decide_how_an_example_is_mixed():
    """Shares are a function of the example's own seed, not of its place in the batch."""
    config, given_batch = AugmentConfig(mixup=1.0), batch(6)
    given_batch["label"] = tf.range(6, dtype=tf.int64)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = {name: tf.gather(value, order) for name, value in given_batch.items()}
    own = mix(config, 6)(given_batch)["target"].numpy()[np.arange(6), np.arange(6)]
    again = mix(config, 6)(shuffled)["target"].numpy()[np.arange(6), order]
    np.testing.assert_allclose(again, own[order])
