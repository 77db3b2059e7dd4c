"""Train two small classifiers of handwritten digits, and write all that the recipes beside this file read.

build/models/linear, build/models/mlp   SavedModels: `image` float32 [batch, 64] in [0, 1] → `logits` float32
build/train.npz, build/test.npz         columns `image`, uint8 [64] from 0 to 16, and `label`
build/train.log                         what TensorFlow said meanwhile

From the root: python -m examples.zoo.models
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from examples.quiet import output_in

BUILD = Path(__file__).parent / "build"
LARGEST = 16
"""The value of ink."""
Layer = tuple[np.ndarray, np.ndarray]


def main() -> None:
    BUILD.mkdir(exist_ok=True)
    digits = load_digits()
    images, labels = digits.data.astype(np.uint8), digits.target
    train, test, train_labels, test_labels = train_test_split(images, labels, test_size=500, random_state=0)
    np.savez(BUILD / "train.npz", image=train, label=train_labels)
    np.savez(BUILD / "test.npz", image=test, label=test_labels)
    with output_in(BUILD / "train.log"):
        linear = LogisticRegression(max_iter=1000).fit(train / LARGEST, train_labels)
        save("linear", [(linear.coef_.T, linear.intercept_)])
        mlp = MLPClassifier((64, 32), max_iter=60, tol=0.01, random_state=0).fit(train / LARGEST, train_labels)
        save("mlp", list(zip(mlp.coefs_, mlp.intercepts_, strict=True)))
    for name in ("linear", "mlp"):
        print(f"written    {os.path.relpath(BUILD / 'models' / name)}")


def save(name: str, layers: Sequence[Layer]) -> None:
    """Dense layers with ReLU between them, as a SavedModel."""
    import tensorflow as tf

    module = tf.Module()
    module.layers = [[tf.Variable(part.astype(np.float32)) for part in layer] for layer in layers]

    @tf.function(input_signature=[tf.TensorSpec((None, 64), tf.float32, name="image")])  # type: ignore[untyped-decorator]
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        *hidden, (kernel, bias) = module.layers
        for inner, inner_bias in hidden:
            image = tf.nn.relu(image @ inner + inner_bias)
        return {"logits": image @ kernel + bias}

    tf.saved_model.save(module, str(BUILD / "models" / name), signatures={"serving_default": serve})


if __name__ == "__main__":
    main()
