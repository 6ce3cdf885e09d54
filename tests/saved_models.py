"""Small SavedModels, of TensorFlow 2 and 1, as people bring them to a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
CLASSIFY, REGRESS, PREDICT = (f"tensorflow/serving/{kind}" for kind in ("classify", "regress", "predict"))


def save(folder: Path, **functions) -> Path:
    """A TensorFlow 2 SavedModel; functions by signature, each a pair of a function and the specs of its arguments."""
    module = tf.Module()
    signatures = {}
    for name, (function, *specs) in functions.items():
        module.used = [*getattr(module, "used", []), *getattr(function, "uses", [])]
        signatures[name] = tf.function(function, input_signature=specs)
        setattr(module, name, signatures[name])
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def using(*resources):
    """Marks what a function reads, for TensorFlow to save."""

    def mark(function):
        function.uses = resources
        return function

    return mark


def convolution(seed: int = 0, channels: int = 96, filters: int = 96):
    """Float (B, H, W, channels) -> float (B, 5): convolution, batch normalization, ReLU, mean, dense layer."""
    random = np.random.default_rng(seed)

    def variable(*shape):
        return tf.Variable(random.normal(size=shape).astype(np.float32) / 10)

    kernel, dense, bias = variable(3, 3, channels, filters), variable(filters, 5), variable(5)
    scale, shift, mean, variance = (tf.Variable(random.uniform(0.5, 1.5, filters).astype(np.float32)) for _ in range(4))

    @using(kernel, dense, bias, scale, shift, mean, variance)
    def network(x):
        x = tf.nn.conv2d(x, kernel, 1, "SAME")
        x = tf.nn.batch_normalization(x, mean, variance, shift, scale, 1e-3)
        x = tf.reduce_mean(tf.nn.relu(x), [1, 2])
        return {"logits": tf.matmul(x, dense) + bias}

    return network


def pictures_and_files(folder: Path, channels: int = 96) -> Path:
    """One network behind a signature for arrays, one for encoded pictures, and one for tf.Examples of them."""
    network = convolution(channels=channels)

    def decode(encoded):
        picture = tf.image.resize(tf.io.decode_image(encoded, 3, expand_animations=False), (8, 8)) / 255.0
        return tf.tile(picture, [1, 1, channels // 3])

    @using(*network.uses)
    def from_files(files):
        spec = tf.TensorSpec((8, 8, channels), tf.float32)
        return network(tf.map_fn(decode, files, fn_output_signature=spec))

    @using(*network.uses)
    def from_examples(examples):
        parsed = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature((), tf.string)})
        return from_files(parsed["image"])

    return save(
        folder,
        serving_default=(network, tf.TensorSpec((None, 8, 8, channels), tf.float32, name="x")),
        files=(from_files, tf.TensorSpec((None,), tf.string, name="files")),
        examples=(from_examples, tf.TensorSpec((None,), tf.string, name="examples")),
    )


def waiting(folder: Path) -> Path:
    """String (1,) -> the same. Of a folder: writes the file `begun` there, and answers once there is a file `go`."""

    def wait(folders):
        begun = tf.io.write_file(folders[0] + "/begun", "")
        with tf.control_dependencies([begun]):
            return tf.while_loop(_is_absent, lambda go: (go,), (folders[0] + "/go",))[0]

    def answer(folders):
        # The server tries each signature when it loads, with strings that are no folder.
        is_folder = tf.strings.regex_full_match(folders[0], "/.+")
        with tf.control_dependencies([tf.cond(is_folder, lambda: wait(folders), lambda: "")]):
            return {"folders": tf.identity(folders)}

    return save(folder, serving_default=(answer, tf.TensorSpec((None,), tf.string, name="folders")))


def _is_absent(file):
    return tf.equal(tf.size(tf.io.matching_files(file)), 0)


def with_table(folder: Path) -> Path:
    """String (B,) -> int64 (B,), by a hash table that an initialiser fills."""
    keys, values = tf.constant(["cat", "dog"]), tf.constant([3, 5], tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

    @using(table)
    def look_up(words):
        return {"numbers": table.lookup(words)}

    return save(folder, serving_default=(look_up, tf.TensorSpec((None,), tf.string, name="words")))


def tensorflow_1(folder: Path, *, as_text: bool = False, resources: bool = False) -> Path:
    """Float (B, 2) -> float (B, 2), x * w + 1, with a reference or a resource variable."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 2), "x")
        w = v1.get_variable("w", initializer=tf.constant([2.0, 3.0]), use_resource=resources)
        y = tf.add(x * w, 1.0, name="y")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": _definition({"x": x}, {"y": y})})
        builder.save(as_text)
    return folder


def several_of_one_input(folder: Path) -> Path:
    """Of TensorFlow 1: serving_default float x (B,) -> 2 x; "double", "twice" and "more" text x (B,) -> 2 x, 2 x, x + 2."""
    with tf.Graph().as_default(), v1.Session() as session:
        x, text = v1.placeholder(tf.float32, (None,)), v1.placeholder(tf.string, (None,))
        w = v1.get_variable("w", initializer=2.0, use_resource=True)
        number = tf.strings.to_number(text)
        outputs = {"double": number * w, "twice": number * w, "more": number + w}
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signatures = {name: _definition({"x": text}, {"y": y}) for name, y in outputs.items()}
        signatures["serving_default"] = _definition({"x": x}, {"y": x * w})
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return folder


def fed_in_the_middle(folder: Path, default: str = "scaled") -> Path:
    """Of TensorFlow 1, uint8 (B, 4) -> scaled -> logits -> probabilities: signatures that take each of the first three."""
    with tf.Graph().as_default(), v1.Session() as session:
        a = v1.get_variable("a", initializer=2.0, use_resource=True)
        raw = v1.placeholder(tf.uint8, (None, 4))
        scaled = tf.cast(raw, tf.float32) / 255
        logits = a * scaled
        y = tf.nn.softmax(logits)
        signatures = {
            "scaled": _definition({"x": scaled}, {"y": y}),
            "logits": _definition({"x": logits}, {"y": y}),
            "raw": _definition({"x": raw}, {"y": y}),
            "raw_class": _definition({"x": raw}, {"y": y, "z": tf.argmax(y, 1)}),
        }
        signatures["serving_default"] = signatures[default]
        session.run(v1.global_variables_initializer())
        return _saved(session, folder, signatures)


def fed_at_a_convolution(folder: Path) -> Path:
    """Of TensorFlow 1, float (B, 8, 8, 3): serving_default from the pictures, "after" from the convolution's output."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 8, 8, 3))
        kernel = v1.get_variable("kernel", (3, 3, 3, 4), use_resource=True)
        convolved = tf.nn.conv2d(x, kernel, 1, "SAME")
        scale, offset = tf.fill([4], 2.0), tf.fill([4], 0.5)
        normalized, *_ = v1.nn.fused_batch_norm(
            convolved, scale, offset, tf.fill([4], 0.1), tf.fill([4], 1.5), is_training=False
        )
        y = tf.reduce_mean(tf.nn.relu(normalized), [1, 2])
        signatures = {
            "serving_default": _definition({"x": x}, {"y": y}),
            "after": _definition({"x": convolved}, {"y": y}),
        }
        session.run(v1.global_variables_initializer())
        return _saved(session, folder, signatures)


def training(folder: Path) -> Path:
    """float x (B, 2) -> x w with w = 1; "train" adds x's mean to w, and "count" how often it was asked."""
    module = tf.Module()
    module.w, module.n = tf.Variable([1.0, 1.0]), tf.Variable(0)
    spec = tf.TensorSpec((None, 2), name="x")

    def train(x):
        return {"w": module.w.assign_add(tf.reduce_mean(x, axis=0))}

    def count(x):
        return {"n": module.n.assign_add(1)}

    functions = {"serving_default": lambda x: {"y": x * module.w}, "train": train, "count": count}
    module.functions = {name: tf.function(function, [spec]) for name, function in functions.items()}
    tf.saved_model.save(module, str(folder), module.functions)
    return folder


def handing_on(folder: Path) -> Path:
    """Of TensorFlow 1: serving_default float x (B,) -> 2 x; "same" x -> x and 2 x, "only" x -> x."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None,))
        y = 2 * x
        signatures = {
            "serving_default": _definition({"x": x}, {"y": y}),
            "same": _definition({"x": x}, {"x": x, "y": y}),
            "only": _definition({"x": x}, {"x": x}),
        }
        return _saved(session, folder, signatures)


def initialised(folder: Path) -> Path:
    """Float (B,) -> float (B,), x + w, with w saved as 2 and set to 7 by the initialiser, which runs later."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None,), "x")
        w = v1.get_variable("w", initializer=2.0, use_resource=True)
        definition = _definition({"x": x}, {"y": x + w})
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": definition}, main_op=v1.assign(w, 7.0).op
        )
        builder.save()
    return folder


def tensorflow_1_table(folder: Path, *, legacy: bool = False) -> Path:
    """String (B,) -> int64 (B,), by a table that an initialiser fills from a vocabulary among the assets."""
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("cat\ndog\n")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, (None,), "x")
        file = tf.constant(str(vocabulary))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, file)
        y = _line_numbers(file).lookup(x)
        session.run(v1.tables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": _definition({"x": x}, {"y": y})},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            **{"legacy_init_op" if legacy else "main_op": v1.tables_initializer()},
        )
        builder.save()
    vocabulary.unlink()
    return folder


def _line_numbers(file):
    whole, line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    return v1.lookup.StaticHashTable(v1.lookup.TextFileInitializer(file, tf.string, whole, tf.int64, line), -1)


def _saved(session, folder, signatures):
    builder = v1.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(session, ["serve"], signatures)
    builder.save()
    return folder


def _definition(inputs, outputs):
    return v1.saved_model.predict_signature_def(inputs, outputs)


def ends(signature):
    """Names of the tensors to feed and to fetch, in the order of the inputs' and the outputs' names."""
    inputs, outputs = signature.inputs, signature.outputs
    return tuple(inputs[n].name for n in sorted(inputs)), tuple(outputs[n].name for n in sorted(outputs))


def run(engine, *arrays, signature="serving_default"):
    """All answers of a signature."""
    return engine.function(*ends(engine.signatures[signature]))(*arrays)


def joinable(engine, signature="serving_default"):
    return engine.joinable(*ends(engine.signatures[signature]))


def half_plus_two(folder: Path, addend: float = 2.0) -> Path:
    """A model of TensorFlow 1: x / 2 + `addend`, for tensors and for tf.Examples with a float feature "x"."""
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        half = v1.get_variable("half", initializer=0.5, use_resource=False)
        plus = v1.get_variable("plus", initializer=float(addend), use_resource=True)
        examples = v1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        y, parsed_y = x * half + plus, parsed * half + plus
        names = tf.fill(tf.shape(parsed_y), tf.constant("half"))
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.utils.build_tensor_info

        def signature(inputs, outputs, method):
            return v1.saved_model.signature_def_utils.build_signature_def(
                {key: info(value) for key, value in inputs.items()},
                {key: info(value) for key, value in outputs.items()},
                method,
            )

        examples_in = {"inputs": examples}
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": y}, PREDICT),
                "regress": signature(examples_in, {"outputs": parsed_y}, REGRESS),
                "classify": signature(examples_in, {"classes": names, "scores": parsed_y}, CLASSIFY),
                "scores": signature(examples_in, {"scores": parsed_y}, CLASSIFY),
                "classes": signature(examples_in, {"classes": names}, CLASSIFY),
                "flat": signature(examples_in, {"scores": tf.reshape(parsed_y, [-1])}, CLASSIFY),
                "flat_regress": signature(examples_in, {"outputs": tf.reshape(parsed_y, [-1])}, REGRESS),
                "wide_regress": signature(examples_in, {"outputs": tf.tile(parsed_y, [1, 2])}, REGRESS),
                "short": signature(examples_in, {"scores": parsed_y[:1]}, CLASSIFY),
                "double": signature(examples_in, {"scores": tf.cast(parsed_y, tf.float64)}, CLASSIFY),
                "other_name": signature({"x": examples}, {"scores": parsed_y}, CLASSIFY),
                "three": signature(examples_in, {"a": parsed_y, "b": parsed_y, "scores": parsed_y}, CLASSIFY),
                "neither": signature(examples_in, {"a": parsed_y}, CLASSIFY),
                "of_numbers": signature({"inputs": x}, {"outputs": y}, REGRESS),
                "two_inputs": signature({"inputs": examples, "x": x}, {"scores": parsed_y}, CLASSIFY),
            },
        )
        builder.save()
    return folder
