"""Makes the models that tests convert, each of a few kilobytes: `python tests/models.py FOLDER`.

A model is a function called as its folder or file is; all of them are made by one process, which imports TensorFlow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import models_keras
import models_training
import numpy as np
import tensorflow as tf

Maker = Callable[[Path], None]
RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> tf.Variable:
    return tf.Variable(RANDOM.normal(0, 0.3, shape).astype(np.float32))


def save(path: Path, function: Callable[..., Any], *specs: tf.TensorSpec, held: Any = ()) -> None:
    """A SavedModel with that function as its signature; `held` are its variables."""
    module = tf.Module()
    module.held = held
    serve = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


def spec(name: str, *shape: int | None, dtype: tf.DType = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name=name)


def image(size: int | None = 8, batch: int | None = None) -> tf.TensorSpec:
    return spec("image", batch, size, size, 3)


class Convolutions:
    """Two convolutions, a depthwise one, a residual and a dense layer; 1,024 weights and more where it matters."""

    def __init__(self) -> None:
        self.variables = [
            weights(3, 3, 3, 16),
            weights(16),
            weights(3, 3, 16, 16),
            weights(3, 3, 16, 1),
            weights(16, 4),
        ]

    def features(self, image: tf.Tensor) -> tf.Tensor:
        first, bias, second, deep, _ = self.variables
        x = tf.nn.relu6(tf.nn.conv2d(image, first, 2, "SAME") + bias)
        y = x + tf.nn.conv2d(x, second, 1, "SAME")
        return tf.reduce_mean(tf.nn.relu(tf.nn.depthwise_conv2d(y, deep, (1, 1, 1, 1), "SAME")), (1, 2))

    def scores(self, image: tf.Tensor) -> tf.Tensor:
        return tf.matmul(self.features(image), self.variables[-1])


def tiny_conv(path: Path) -> None:
    net = Convolutions()
    save(path, lambda image: {"scores": net.scores(image)}, image(), held=net.variables)


def two_outputs(path: Path) -> None:
    net = Convolutions()
    save(path, lambda image: {"zeta": net.scores(image), "alpha": net.features(image)}, image(), held=net.variables)


def finds_rectangles(path: Path) -> None:
    """The box of the one rectangle in the image, as `yxyx`, and its class: 0 if it is 1.0, and 1 if it is 0.5."""
    places = tf.range(16, dtype=tf.float32) / 16

    def function(image: tf.Tensor) -> dict[str, tf.Tensor]:
        starts, ends = [], []
        for axis in (2, 1):
            lit = tf.minimum(2 * tf.reduce_max(image, [axis, 3]), 1)
            starts.append(1 - tf.reduce_max(lit * (1 - places), 1, keepdims=True))
            ends.append(tf.reduce_max(lit * (places + 1 / 16), 1, keepdims=True))
        peak = tf.reduce_max(image, [1, 2])
        return {
            "detection_boxes": tf.stack([*starts, *ends], 2),
            "detection_scores": peak,
            "detection_classes": tf.nn.relu(2 * (1 - peak)),
        }

    save(path, function, tf.TensorSpec([None, 16, 16, 1], tf.float32, "image"))


def dynamic_size(path: Path) -> None:
    net = Convolutions()
    save(path, lambda image: {"scores": net.scores(image)}, image(size=None), held=net.variables)


def uint8_input(path: Path) -> None:
    net = Convolutions()

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": net.scores(tf.cast(image, tf.float32) / 255)}

    save(path, serve, spec("image", None, 8, 8, 3, dtype=tf.uint8), held=net.variables)


def tiny_dense(path: Path) -> None:
    first, second = weights(16, 64), weights(64, 4)
    save(
        path,
        lambda x: {"y": tf.matmul(tf.nn.relu(tf.matmul(x, first)), second)},
        spec("x", None, 16),
        held=[first, second],
    )


def without_batch(path: Path) -> None:
    """One call takes one sample, which is the whole tensor."""
    matrix = weights(64, 16)
    save(path, lambda x: {"y": tf.linalg.matvec(matrix, x)}, spec("x", 16), held=matrix)


def small_weights(path: Path) -> None:
    matrix = weights(16, 4)
    save(path, lambda x: {"y": tf.matmul(x, matrix)}, spec("x", None, 16), held=matrix)


def two_inputs(path: Path) -> None:
    """Of one shape, and in the graph in another order than in the alphabet."""
    one, other = weights(16, 64), weights(16, 64)

    def serve(zeta: tf.Tensor, alpha: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.relu(tf.matmul(zeta, one)) - 0.1 * tf.matmul(alpha, other)}

    save(path, serve, spec("zeta", None, 16), spec("alpha", None, 16), held=[one, other])


def signatures(path: Path) -> None:
    """As Keras 3 exports a model and a second endpoint: `serve`, `serving_default` and another."""
    module = tf.Module()
    module.matrix, module.other = weights(16, 64), weights(16, 3)
    serve = tf.function(lambda x: {"y": tf.matmul(x, module.matrix)}, input_signature=[spec("x", None, 16)])
    embed = tf.function(lambda x: {"e": tf.matmul(x, module.other)}, input_signature=[spec("x", None, 16)])
    keys = {"serve": serve, "serving_default": serve, "embed": embed}
    tf.saved_model.save(module, str(path), signatures=keys)


def with_sin(path: Path) -> None:
    """sin has no integer kernel."""
    matrix = weights(16, 64)
    save(path, lambda x: {"y": tf.matmul(tf.sin(3 * x), matrix)}, spec("x", None, 16), held=matrix)


def with_cumsum(path: Path) -> None:
    matrix = weights(16, 64)
    save(path, lambda x: {"y": tf.cumsum(tf.matmul(x, matrix), axis=1)}, spec("x", None, 16), held=matrix)


def sin_of_input(path: Path) -> None:
    """The input has no consumer that takes integers."""
    save(path, lambda x: {"y": tf.sin(x)}, spec("x", None, 16))


def squared_difference(path: Path) -> None:
    matrix = weights(16, 64)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        y = tf.matmul(x, matrix)
        return {"y": tf.math.squared_difference(y, tf.nn.relu(y + 0.2))}

    save(path, serve, spec("x", None, 16), held=matrix)


def branches(path: Path) -> None:
    """One branch of two is never taken with ordinary data."""
    one, other = weights(16, 64), weights(16, 64)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        y = tf.cond(tf.reduce_sum(x) > -100, lambda: tf.matmul(x, one), lambda: tf.matmul(x, other))
        return {"y": tf.nn.relu(y)}

    save(path, serve, spec("x", 1, 16), held=[one, other])


def infinite_inside(path: Path) -> None:
    """log(0) is −Inf with ordinary data; the answers are finite."""
    matrix = weights(16, 64)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.relu(tf.math.log(tf.nn.relu(x - 0.5))) + tf.matmul(x, matrix)[:, :16]}

    save(path, serve, spec("x", None, 16), held=matrix)


def infinite_in_branch(path: Path) -> None:
    """log(0) beside a branch, which activations cannot be observed in."""
    one, other = weights(16, 64), weights(16, 64)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.matmul(x, one), lambda: tf.matmul(x, other))
        return {"y": tf.nn.relu(tf.math.log(tf.nn.relu(y)))}

    save(path, serve, spec("x", 1, 16), held=[one, other])


def operation_with_huge_values(path: Path) -> None:
    """An output whose values float32 holds, and whose sum it does not."""
    kernel = weights(3, 3, 3, 16)

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        huge = tf.nn.relu(image * 1e37)
        return {"y": tf.nn.conv2d(huge, kernel * 1e-35, 1, "SAME"), "huge": huge}

    save(path, serve, image(), held=kernel)


def not_a_number(path: Path) -> None:
    """Every answer holds NaN: the root of what is negative."""
    matrix = weights(16, 64)
    save(path, lambda x: {"y": tf.sqrt(tf.matmul(x, matrix))}, spec("x", None, 16), held=matrix)


def hidden_nan(path: Path) -> None:
    """The answer is the place of the largest value, and some values are the root of what is negative."""
    matrix = weights(16, 64)
    save(path, lambda x: {"y": tf.argmax(tf.sqrt(tf.matmul(x, matrix)), -1)}, spec("x", None, 16), held=matrix)


def embedding(path: Path) -> None:
    """Takes ids."""
    table, matrix = weights(20, 64), weights(64, 16)

    def serve(ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(tf.reduce_mean(tf.gather(table, ids), 1), matrix)}

    save(path, serve, spec("ids", None, 5, dtype=tf.int32), held=[table, matrix])


def padded_ids(path: Path) -> None:
    """Takes ids, of which 0 counts as none."""
    table, matrix = weights(20, 64), weights(64, 16)

    def serve(ids: tf.Tensor) -> dict[str, tf.Tensor]:
        mask = tf.cast(tf.not_equal(ids, 0), tf.float32)[..., None]
        return {"y": tf.matmul(tf.reduce_mean(tf.gather(table, ids) * mask, 1), matrix)}

    save(path, serve, spec("ids", None, 5, dtype=tf.int32), held=[table, matrix])


def text_input(path: Path) -> None:
    save(path, lambda text: {"y": tf.strings.length(text)}, spec("text", None, dtype=tf.string))


def counter(path: Path) -> None:
    """Remembers what it answered."""
    matrix, memory = weights(16, 64), tf.Variable(tf.zeros((1, 64)))

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        memory.assign(memory * 0.5 + tf.matmul(x, matrix))
        return {"y": memory + 1.0}

    save(path, serve, spec("x", 1, 16), held=[matrix, memory])


def unknown_op(path: Path) -> None:
    """Resizing with antialias, for which TensorFlow Lite has no op."""
    net = Convolutions()

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": net.scores(tf.image.resize(image, (4, 4), antialias=True))}

    save(path, serve, image(), held=net.variables)


def fake_quantized(path: Path) -> None:
    """As quantization-aware training leaves a model."""
    matrix = weights(16, 64)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        fake = tf.quantization.fake_quant_with_min_max_args
        kernel = fake(matrix, -1, 1, num_bits=8, narrow_range=True)
        return {"y": fake(tf.matmul(fake(x, -2, 2), kernel), -6, 6)}

    save(path, serve, spec("x", None, 16), held=matrix)


def odd_names(path: Path) -> None:
    """A TensorFlow 1 model, whose names of inputs and outputs are no identifiers."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        one = tf.compat.v1.placeholder(tf.float32, (None, 16), name="first")
        other = tf.compat.v1.placeholder(tf.float32, (None, 16), name="second")
        matrix = tf.compat.v1.get_variable("matrix", initializer=RANDOM.normal(0, 0.3, (16, 64)).astype(np.float32))
        session.run(tf.compat.v1.global_variables_initializer())
        inputs = {"image/encoded:0": one, "x-1": other}
        outputs = {"scores:0": tf.matmul(one, matrix) - 2 * tf.nn.relu(other @ matrix), "2nd out": one + other}
        tf.compat.v1.saved_model.simple_save(session, str(path), inputs, outputs)


def tagged(path: Path) -> None:
    """A TensorFlow 1 model with two graphs, of which only `serve` has the signature."""
    builder = tf.compat.v1.saved_model.Builder(str(path))
    for tags, size in ((["serve"], 64), (["serve", "gpu"], 8)):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.float32, (None, 16), name="x")
            matrix = tf.compat.v1.get_variable("matrix", initializer=np.ones((16, 64), np.float32))
            session.run(tf.compat.v1.global_variables_initializer())
            y = tf.matmul(x, matrix)[:, :size]
            signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": y})
            add = builder.add_meta_graph_and_variables if len(tags) == 1 else None
            if add:
                add(session, tags, {"serving_default": signature})
            else:
                builder.add_meta_graph(tags, {"serving_default": signature})
    builder.save()


def without_signature(path: Path) -> None:
    module = tf.Module()
    module.matrix = weights(16, 64)
    tf.saved_model.save(module, str(path))


def without_inputs(path: Path) -> None:
    matrix = weights(16, 64)
    save(path, lambda: {"y": 2 * matrix}, held=matrix)


def one_at_a_time(path: Path) -> None:
    """The signature leaves the batch open, and the graph does not."""
    matrix = weights(16, 64)
    save(path, lambda x: {"y": tf.matmul(tf.reshape(x, (1, 16)), matrix)}, spec("x", None, 16), held=matrix)


def as_many_as_positive(path: Path) -> None:
    """How many rows the answer has depends on the numbers."""
    matrix = weights(16, 64)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        y = tf.reshape(tf.matmul(x, matrix), [64])
        return {"y": tf.boolean_mask(y, y > 0)}

    save(path, serve, spec("x", 1, 16), held=matrix)


def empty_output(path: Path) -> None:
    """One answer never has an element, the other always has."""
    matrix = weights(16, 64)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        y = tf.reshape(tf.matmul(x, matrix), [64])
        return {"none": tf.boolean_mask(y, y > 1e9), "y": y}

    save(path, serve, spec("x", 1, 16), held=matrix)


def with_cumprod(path: Path) -> None:
    """TensorFlow has the op, TensorFlow Lite has not."""
    matrix = weights(16, 64)
    save(path, lambda x: {"y": tf.math.cumprod(tf.matmul(x, matrix), 1)}, spec("x", None, 16), held=matrix)


def tiny_conv_residual(path: Path) -> None:
    """Sums of what was rectified right before, which kernels compute in place, and every op that keeps a scale."""
    kernels = [weights(3, 3, 3, 16), *(weights(3, 3, 16, 16) for _ in range(4))]
    dense = weights(32, 4)

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.relu(tf.nn.conv2d(image, kernels[0], 1, "SAME"))
        for first, second in ((kernels[1], kernels[2]), (kernels[3], kernels[4])):
            inner = tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME"))
            x = tf.sqrt(tf.nn.relu(inner + tf.nn.conv2d(inner, second, 1, "SAME")) + tf.nn.relu(x))
        pooled = tf.nn.max_pool2d(x, 2, 2, "SAME")
        joined = tf.concat([tf.reduce_mean(pooled, (1, 2)), tf.reduce_max(x, (1, 2)) * 0.5], 1)
        return {"scores": tf.nn.softmax(tf.matmul(tf.tanh(joined), dense))}

    save(path, serve, image(), held=[*kernels, dense])


def lookup(path: Path) -> None:
    """A table, which is no variable."""
    keys = tf.range(20, dtype=tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, keys[::-1]), -1)
    matrix = weights(20, 8)

    def serve(ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.gather(matrix, table.lookup(ids))}

    save(path, serve, spec("ids", None, 5, dtype=tf.int64), held=[table, matrix])


def tiny_conv_layers(path: Path) -> None:
    """Convolutions of every kind, with channels of sizes far apart, and all that may stand between two of them."""
    spread = np.geomspace(0.02, 1, 16).astype(np.float32)
    first = tf.Variable(weights(3, 3, 3, 16) * spread)
    kernels = [weights(3, 3, 16, 2), weights(3, 3, 32, 16), weights(1, 1, 16, 16), weights(3, 3, 8, 16)]
    slopes = tf.Variable(np.linspace(0.1, 0.4, 16, dtype=np.float32).reshape(1, 1, 16))
    dense, last = weights(128, 64), weights(64, 4)
    biases = [weights(size) for size in (16, 32, 16, 16, 8, 64)]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.relu6(tf.nn.conv2d(image, first, 1, "SAME") + biases[0])
        x = tf.nn.relu(tf.nn.depthwise_conv2d(x, kernels[0], (1, 2, 2, 1), "SAME") + biases[1])
        x = tf.nn.conv2d(x, kernels[1], 1, "SAME", dilations=2) + biases[2]
        x = tf.nn.relu(x) + -slopes * tf.nn.relu(-x)
        x = x + (tf.nn.conv2d(x, kernels[2], 1, "VALID") + biases[3])
        x = tf.nn.conv2d_transpose(x, kernels[3], (1, 8, 8, 8), 2, "SAME") + biases[4]
        x = tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, "SAME")
        x = tf.nn.relu(tf.matmul(tf.reshape(x, (1, 128)), dense) + biases[5])
        return {"scores": tf.matmul(x, last)}

    save(path, serve, image(batch=1), held=[first, *kernels, slopes, dense, last, *biases])


def tiny_conv_functions(path: Path) -> None:
    """Convolutions with all manner of functions behind them, a gate, and one that is read beside its function."""
    kernels = [weights(3, 3, 3, 16), *(weights(3, 3, 16, 16) for _ in range(7))]
    slopes = tf.Variable(np.linspace(-0.3, 0.4, 16, dtype=np.float32).reshape(1, 1, 16))

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.leaky_relu(tf.nn.conv2d(image, kernels[0], 1, "SAME", name="leaky") + 2, 0.1)
        x = tf.nn.conv2d(x, kernels[1], 1, "SAME", name="prelu")
        x = tf.nn.relu(x) + -slopes * tf.nn.relu(-x)
        x = tf.nn.conv2d(x, kernels[2], 1, "SAME", name="hard_swish")
        x = x * tf.nn.relu6(x + 3)
        x = tf.nn.conv2d(x, kernels[3], 1, "SAME", name="swish")
        x = x * tf.sigmoid(x)
        x = tf.nn.gelu(tf.nn.conv2d(x, kernels[4], 1, "SAME", name="gelu"), approximate=True)
        x = tf.nn.elu(tf.nn.conv2d(x, kernels[5], 1, "SAME", name="elu"))
        gate = tf.sigmoid(tf.nn.conv2d(x, kernels[6], 1, "SAME", name="gate"))
        x = tf.nn.conv2d(x, kernels[7], 1, "SAME", name="read_twice")
        return {"maps": tf.tanh(x), "gated": x * gate}

    save(path, serve, image(batch=1), held=[*kernels, slopes])


def tiny_conv_dense(path: Path) -> None:
    """Mostly dense layers: two with rows of 512 and 64 inputs, one of 40, and one that is small."""
    kernel = weights(3, 3, 3, 8)
    sizes = (512, 64, 40, 32, 10)
    spread = [np.geomspace(0.1, 1, size).astype(np.float32)[:, np.newaxis] for size in sizes]
    dense = [tf.Variable(weights(*pair) * by) for pair, by in zip(pairwise(sizes), spread, strict=False)]
    biases = [weights(size) for size in sizes[1:]]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.reshape(tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME")), (-1, 512))
        for matrix, bias in zip(dense[:-1], biases[:-1], strict=True):
            x = tf.nn.relu(tf.matmul(x, matrix) + bias)
        return {"scores": tf.matmul(x, dense[-1]) + biases[-1]}

    save(path, serve, image(), held=[kernel, *dense, *biases])


def tiny_conv_heads(path: Path) -> None:
    """A detector whose output holds boxes in pixels and scores from 0 to 1, which share one scale in 8 bits."""
    kernel, boxes, scores = weights(3, 3, 3, 16), tf.Variable(weights(1, 1, 16, 4) * 400), weights(1, 1, 16, 3)

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.relu(tf.nn.conv2d(image, kernel, 4, "SAME"))
        places, likely = tf.nn.conv2d(x, boxes, 1, "VALID"), tf.nn.conv2d(x, scores, 1, "VALID")
        joined = tf.concat([places, tf.sigmoid(likely)], 3)
        return {"found": tf.reshape(joined, (-1, 4, 7))}

    save(path, serve, image(), held=[kernel, boxes, scores])


MAKERS: tuple[Maker, ...] = (
    tiny_conv,
    two_outputs,
    finds_rectangles,
    dynamic_size,
    uint8_input,
    tiny_dense,
    without_batch,
    small_weights,
    two_inputs,
    signatures,
    with_sin,
    with_cumsum,
    sin_of_input,
    squared_difference,
    branches,
    infinite_inside,
    infinite_in_branch,
    operation_with_huge_values,
    not_a_number,
    embedding,
    text_input,
    counter,
    unknown_op,
    fake_quantized,
    odd_names,
    tagged,
    without_signature,
    without_inputs,
    one_at_a_time,
    as_many_as_positive,
    with_cumprod,
    tiny_conv_residual,
    lookup,
    *models_keras.MAKERS,
    *models_training.MAKERS,
    tiny_conv_layers,
    empty_output,
    tiny_conv_functions,
    padded_ids,
    tiny_conv_dense,
    tiny_conv_heads,
    hidden_nan,
)


def main() -> None:
    for make in MAKERS:
        make(Path(sys.argv[1]) / make.__name__)


if __name__ == "__main__":
    main()
