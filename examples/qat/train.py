"""Train a narrow depthwise network on scikit-learn's handwritten digits, and write all that the recipes read.

build/net.keras     the network as Keras 3 archives it: `image` float32 [batch, 8, 8, 1] in [0, 1] → logits [batch, 10]
build/net.h5        the same network, weight for weight, as Keras 2 saves it
build/{train,validation,test}.npz   pictures, `image` uint8 [n, 8, 8, 1], and `label`
build/train.log     what TensorFlow said meanwhile

From the root: python -m examples.qat.train

The channels of the network differ in magnitude by up to a factor of 2**SPREAD, which is what makes int8 hard: an
activation tensor has one scale for all of its channels, and the small ones drown in its rounding. Networks with
depthwise convolutions are known for it, once their batch normalizations are folded (Nagel et al. 2019,
arXiv:1906.04721). A network of this size does not come by it alone, so it is planted here: after training, what a
depthwise convolution answers is multiplied channel by channel, and the convolution after it divides by the same
numbers. ReLU lets factors through, so in float the network computes what it did before.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from examples.handwritten_digits import SEED, Split, digit_images, fit, make_reproducible, scaled, split_off
from examples.quiet import output_in

BUILD = Path(__file__).parent / "build"
SPREAD = 9


def main() -> None:
    BUILD.mkdir(exist_ok=True)
    begin = time.monotonic()
    with output_in(BUILD / "train.log"):
        splits = load_splits()
        for name, (images, labels) in splits.items():
            np.savez(BUILD / f"{name}.npz", image=images, label=labels)
        model = train(splits["train"])
        before = accuracy(model, *splits["test"])
        spread_channels(model)
        after = accuracy(model, *splits["test"])
        save(model)
    print(f"trained    {model.count_params():,} parameters in {time.monotonic() - begin:.0f} s")
    print(f"accuracy   {before:.4f} on the test pictures, {after:.4f} with its channels spread")
    for name in ("net.keras", "net.h5"):
        print(f"written    {os.path.relpath(BUILD / name)}")


def load_splits() -> dict[str, Split]:
    rest, test = split_off(digit_images(), 600)
    train, validation = split_off(rest, 200)
    return {"train": train, "validation": validation, "test": test}


def network(keras: Any) -> Any:
    """Built with Keras 3 or with tf-keras."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="stem"),
            *block(layers, 1, 24, 1),
            *block(layers, 2, 32, 2),
            *block(layers, 3, 32, 1),
            layers.Flatten(name="flat"),
            layers.Dense(10, name="logits"),
        ],
        name="net",
    )


def block(layers: Any, number: int, channels: int, strides: int) -> list[Any]:
    """A depthwise convolution and a pointwise one, as in MobileNet."""
    return [
        layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=f"deep_{number}"),
        layers.BatchNormalization(momentum=0.9, name=f"deep_{number}_norm"),
        layers.ReLU(name=f"deep_{number}_relu"),
        layers.Conv2D(channels, 1, use_bias=False, name=f"point_{number}"),
        layers.BatchNormalization(momentum=0.9, name=f"point_{number}_norm"),
        layers.ReLU(name=f"point_{number}_relu"),
    ]


def train(split: Split) -> Any:
    import keras

    make_reproducible()
    model = network(keras)
    fit(model, split, rate=5e-3)
    return model


def accuracy(model: Any, images: np.ndarray, labels: np.ndarray) -> float:
    return float((model.predict(scaled(images), verbose=0).argmax(1) == labels).mean())


def spread_channels(model: Any) -> None:
    """Multiply what each depthwise convolution answers, and divide before it is summed up."""
    random = np.random.default_rng(SEED)
    for number in (1, 2, 3):
        norm, point = model.get_layer(f"deep_{number}_norm"), model.get_layer(f"point_{number}")
        (gamma, beta, *statistics), (kernel,) = norm.get_weights(), point.get_weights()
        factors = np.exp2(random.uniform(-SPREAD / 2, SPREAD / 2, gamma.shape)).astype(np.float32)
        norm.set_weights([gamma * factors, beta * factors, *statistics])
        point.set_weights([kernel / factors[:, np.newaxis]])


def save(model: Any) -> None:
    import tf_keras

    model.save(BUILD / "net.keras")
    twin = network(tf_keras)
    twin.set_weights(model.get_weights())
    twin.save(BUILD / "net.h5")


if __name__ == "__main__":
    main()
