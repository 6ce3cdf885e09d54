"""Decoding of pictures that come from anywhere, guarded in the graph: so TensorFlow Serving's container is protected too.

A few hundred bytes can announce a picture of 65535 x 65535. What is refused by its header (see `headers`) is refused before
anything is decoded; pixels are those of the transform that is guarded, bit for bit. TensorFlow operations alone.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from pipelines import headers
from pipelines.transforms import Transform

DAMAGED = "is damaged, or of a kind that is not supported"

# kind -> channels of which there are decoders.
_CHANNELS = ((1, 3, 4), (1, 2, 3, 4), (3,), (1, 3, 4), (3,), ())


def decode_all(transform: Transform, spec: tf.TensorSpec, max_pixels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Encoded pictures, string (B,) -> what `transform` makes of each, (B, *spec.shape), `spec` being of one.

    max_pixels   how many pixels the header of a picture may announce.

    Raises tf.errors.InvalidArgumentError for the batch; it names the first picture that is wrong by its index, if the header
    tells, or the file is cut off or of another format. What only the decoder finds, which is damage inside a file that ends as
    it should (mostly PNG's checksums), fails with the decoder's message alone: to know whose it is takes `decode_each`.
    """
    each = decode_each(transform, spec, max_pixels)

    def named(encoded: tf.Tensor) -> tf.Tensor:
        images, found = each(encoded)
        return _require(images, found)

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        header = headers.read(encoded)
        encoded = _require(encoded, _problems(encoded, header, max_pixels))
        return tf.cond(
            tf.reduce_all(header.is_whole),
            lambda: tf.map_fn(transform, encoded, fn_output_signature=spec),
            lambda: named(encoded),
        )

    return decode


def decode_each(
    transform: Transform, spec: tf.TensorSpec, max_pixels: int
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """As `decode_all`, but one bad picture does not fail the others.

    The second output, string (B,), tells what is wrong with each: "" for nothing; what is wrong has zeros for an image.
    """

    def decode(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = problems(encoded, max_pixels)
        images, decoded = _try(transform, spec, tf.where(found == "", encoded, ""))
        return images, tf.where(decoded | (found != ""), found, DAMAGED)

    return decode


def problems(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """What the headers of pictures, string (B,), tell against them: string (B,), "" for nothing."""
    return _problems(encoded, headers.read(encoded), max_pixels)


def _problems(encoded: tf.Tensor, header: headers.Headers, max_pixels: int) -> tf.Tensor:
    allowed = tf.constant([[number in numbers for number in range(6)] for numbers in _CHANNELS])
    known = tf.gather(tf.gather(allowed, header.kind), tf.minimum(header.channels, 5), batch_dims=1)
    count, limit = tf.strings.as_string(header.pixels), f" pixels; at most {max_pixels} are decoded"
    # The first that is true counts.
    checks = (
        (encoded == "", "is empty"),
        (header.kind == headers.OTHER, "is no JPEG, PNG, GIF, BMP or WebP"),
        (header.pixels == 0, "has a damaged header"),
        (header.pixels > max_pixels, tf.strings.join(["announces ", count, limit])),
        (header.is_animated_webp, "is an animated WebP, which is not decoded"),
        (~known, tf.strings.join(["has ", tf.strings.as_string(header.channels), " channels, which are not decoded"])),
    )
    text = tf.fill(tf.shape(encoded), "")
    for is_wrong, reason in reversed(checks):
        text = tf.where(is_wrong, reason, text)
    return text


def _require(tensor: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """`tensor`, once none of the problems found, string (B,), is any."""
    wrong = tf.concat([found != "", [True]], 0)
    index = tf.argmax(wrong)
    reason = tf.concat([found, [""]], 0)[index]
    message = tf.strings.join(["Picture ", tf.strings.as_string(index), " of the batch ", reason])
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(found == ""), [message])]):
        return tf.identity(tensor)


def _try(transform: Transform, spec: tf.TensorSpec, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Images, of zeros where the transform raises, and where it does not, bool (B,).

    Errors end a graph, but not a tf.data pipeline, which may leave out what fails. It runs inside the graph, here and now, with
    nothing that would outlive it; that it is built for each batch takes some milliseconds.
    """
    count = tf.size(encoded, tf.int64)
    options = tf.data.Options()
    options.autotune.enabled = options.experimental_optimization.apply_default_optimizations = False
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(count), encoded))
    decoded = numbered.map(lambda number, one: (number, transform(one))).ignore_errors()
    # There is always one more, so that there is a batch even if nothing can be decoded.
    last = tf.data.Dataset.from_tensors((count, tf.zeros(spec.shape, spec.dtype)))
    batch = decoded.concatenate(last).batch(count + 1).with_options(options)
    numbers, images = batch.get_single_element()
    shape = tf.stack([count + 1, *(tf.constant(size, tf.int64) for size in spec.shape)])
    images = tf.ensure_shape(tf.scatter_nd(numbers[:, tf.newaxis], images, shape)[:count], (None, *spec.shape))
    return images, tf.scatter_nd(numbers[:, tf.newaxis], tf.ones_like(numbers), [count + 1])[:count] > 0
