"""Trains a small network on CIFAR-10 pictures, for a search to work on: `python -m benchmarks.cifar DATA.npz FOLDER`.

The data have the columns `image`, uint8 [32, 32, 3], and `label`. The folder gets the model, its calibration and
evaluation data, and a recipe.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

EPOCHS = 6
TRAINED, CALIBRATED = 0.6, 500
RECIPE = """\
model: net
inputs:
  image: {scale: 0.00392156862745098}
calibration: {dataset: {npz: calibration.npz}}
evaluation: {dataset: {npz: evaluation.npz}, label: label, metric: top1, samples: 3000}
variants: [int8]
gates: {max_metric_drop: 0.005}
"""


def main(data: Path, folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    with np.load(data) as held:
        images, labels = held["image"], held["label"]
    count = int(TRAINED * len(images))
    folder.mkdir(parents=True, exist_ok=True)
    model = network(keras)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    both = np.concatenate([images[:count], images[:count, :, ::-1]]) / np.float32(255)
    model.fit(both, np.tile(labels[:count], 2), batch_size=64, epochs=EPOCHS, verbose=2)
    model.export(str(folder / "net"), verbose=False)
    np.savez(folder / "calibration.npz", image=images[:CALIBRATED])
    np.savez(folder / "evaluation.npz", image=images[count:], label=labels[count:])
    (folder / "cifar.yaml").write_text(RECIPE)


def network(keras: Any) -> Any:
    """Residual blocks of depthwise and pointwise convolutions, with squeeze-and-excitation, as small networks have."""
    layers = keras.layers

    def convolved(x: Any, width: int, size: int, strides: int = 1) -> Any:
        x = layers.Conv2D(width, size, strides, padding="same", use_bias=False)(x)
        return layers.Activation("swish")(layers.BatchNormalization(momentum=0.9)(x))

    def block(x: Any, width: int) -> Any:
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(convolved(x, 2 * width, 1))
        y = layers.Activation("swish")(layers.BatchNormalization(momentum=0.9)(y))
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(width // 2, 1, activation="relu")(gate)
        y = layers.Multiply()([y, layers.Conv2D(2 * width, 1, activation="sigmoid")(gate)])
        y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(width, 1, use_bias=False)(y))
        return layers.Add()([x, y])

    image = keras.Input((32, 32, 3), name="image")
    x = convolved(image, 16, 3)
    for width in (16, 32, 64):
        x = block(convolved(x, width, 3, 2), width)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10)(x))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
