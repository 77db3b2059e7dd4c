"""Makes the data that accuracy is measured on: `python -m benchmarks.pictures PHOTOGRAPHS.npz DIGITS.npz FOLDER`.

Both have a column `image`, uint8: photographs [n, 224, 224, 3], digits [n, 28, 28] or with a channel. The folder gets a
file for each model, by its name, with the model's own input as it takes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

CROPS, SIDES = 4, (60, 200)
"""Of each photograph, where a model takes faces, and how many pixels wide they are."""
DIGITS = 450


def main(photographs: Path, digits: Path, folder: Path) -> None:
    import tensorflow as tf

    def resized(pictures: np.ndarray, size: int) -> np.ndarray:
        found: np.ndarray = tf.image.resize(pictures, (size, size)).numpy()
        return found

    pictures, numbers = np.load(photographs)["image"].astype(np.float32), np.load(digits)["image"]
    faces = np.concatenate([resized(crop[np.newaxis], 48) for crop in _crops(pictures)])
    columns = {
        "human-posenet": ("image", resized(pictures, 385) / 127.5 - 1),
        "human-selfie": ("input_1", resized(pictures, 256) / 255),
        "human-movenet-lightning": ("input", np.rint(resized(pictures, 192)).astype(np.int32)),
        "mtcnn-onet": ("image", (faces - 127.5) / 128),
        "mtcnn-pnet": ("image", (pictures - 127.5) / 128),
        "mnist-digitrec": ("image", _normalized(numbers.reshape(-1, 28, 28, 1)[:DIGITS])),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (column, values) in columns.items():
        np.savez(folder / f"{name}.npz", **{column: values})


def _normalized(digits: np.ndarray) -> np.ndarray:
    """By the mean and the standard deviation of MNIST."""
    return np.asarray((digits / 255 - 0.1307) / 0.3081, np.float32)


def _crops(pictures: np.ndarray) -> list[np.ndarray]:
    random, size = np.random.default_rng(0), pictures.shape[1]
    crops = []
    for picture in pictures:
        for _ in range(CROPS):
            side = random.integers(*SIDES)
            top, left = random.integers(0, size - side, 2)
            crops.append(picture[top : top + side, left : left + side])
    return crops


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
