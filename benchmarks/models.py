"""Models with random weights for benchmarks of speed: `python -m benchmarks.models NAME FOLDER SIZE`.

The statistics of batch normalization are those of synthetic pictures, so that activations are as large as in a trained
network. The output is logits: the softmax of a thousand random classes would be a thousand zeros in int8.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import synthetic

BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""The stages of EfficientNet-B0: blocks, kernel size, stride of the first block, expansion factor, output channels."""
STEM, HEAD, CLASSES = 32, 1280, 1000
BATCH = 16
"""Pictures that the statistics are of."""


def made(name: str, folder: Path, size: int) -> Path:
    """Return the SavedModel of this name and picture size, which is made in a process of its own, and only once."""
    target = folder / f"{name}_{size}"
    if not target.exists():
        command = [sys.executable, "-m", "benchmarks.models", name, str(target), str(size)]
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
        if ran.returncode:
            raise SystemExit(f"{name} could not be made: {ran.stderr[-2000:]}")
    return target


def main(name: str, folder: str, size: str) -> None:
    import keras

    keras.utils.set_random_seed(0)
    shape = (int(size), int(size), 3)
    model = _network(keras, name, shape)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(synthetic.pictures(BATCH, shape[0]).astype(np.float32) / 255, training=True)
    image = keras.Input(shape, name="image")
    keras.Model(image, model(image)).export(folder, verbose=False)


def _network(keras: Any, name: str, shape: tuple[int, int, int]) -> Any:
    if name == "tiny":
        return _tiny(keras, shape)
    if name == "efficientnet_lite0":
        return _efficientnet_lite0(keras, shape)
    kind = {"mobilenet_v2": keras.applications.MobileNetV2, "resnet50": keras.applications.ResNet50}[name]
    return kind(input_shape=shape, weights=None, classifier_activation=None)


def _tiny(keras: Any, shape: tuple[int, int, int]) -> Any:
    layers = keras.layers
    convolved = [layers.Conv2D(8, 3, 2, activation="relu"), layers.Conv2D(16, 3, 2, activation="relu")]
    return keras.Sequential([layers.Input(shape), *convolved, layers.GlobalAveragePooling2D(), layers.Dense(10)])


def _efficientnet_lite0(keras: Any, shape: tuple[int, int, int]) -> Any:
    """EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for swish, as EfficientNet-Lite0 is."""
    image = keras.Input(shape)
    x = _normalized(keras, keras.layers.Conv2D(STEM, 3, 2, padding="same", use_bias=False)(image))
    for count, kernel, stride, expansion, channels in BLOCKS:
        for number in range(count):
            x = _block(keras, x, (kernel, stride if number == 0 else 1, expansion, channels))
    x = _normalized(keras, keras.layers.Conv2D(HEAD, 1, use_bias=False)(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(CLASSES)(x))


def _block(keras: Any, x: Any, sizes: tuple[int, int, int, int]) -> Any:
    """Expand, filter each channel, project; added to the input if both have the same shape."""
    kernel, stride, expansion, channels = sizes
    layers, incoming, y = keras.layers, x.shape[-1], x
    if expansion > 1:
        y = _normalized(keras, layers.Conv2D(expansion * incoming, 1, use_bias=False)(y))
    y = _normalized(keras, layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)(y))
    y = layers.BatchNormalization()(layers.Conv2D(channels, 1, use_bias=False)(y))
    return layers.Add()([x, y]) if stride == 1 and incoming == channels else y


def _normalized(keras: Any, x: Any) -> Any:
    return keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(x))


if __name__ == "__main__":
    main(*sys.argv[1:])
