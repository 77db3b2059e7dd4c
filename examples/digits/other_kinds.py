"""Write the digits' pictures in the other kinds that a recipe can read, and yield them as a Python callable would.

build/digits.npz         columns `image` and `label`
build/images/7/0042.png  a folder for each label
build/digits.tfrecord    tf.train.Example records: `image` a PNG, `label` an int64
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

BUILD = Path(__file__).parent / "build"


def rows() -> Iterator[dict[str, np.ndarray]]:
    """The pictures, uint8 [8, 8, 1] from 0 to 255, and their labels."""
    digits = load_digits()
    images = np.rint(digits.images[..., np.newaxis] * (255 / 16)).astype(np.uint8)
    for image, label in zip(images, digits.target, strict=True):
        yield {"image": image, "label": label}


def main() -> None:
    import tensorflow as tf

    BUILD.mkdir(exist_ok=True)
    kept = list(rows())
    np.savez(BUILD / "digits.npz", image=[row["image"] for row in kept], label=[row["label"] for row in kept])
    with tf.io.TFRecordWriter(str(BUILD / "digits.tfrecord")) as records:
        for index, row in enumerate(kept):
            png = _png(row["image"])
            path = BUILD / "images" / str(row["label"]) / f"{index:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png)
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[row["label"]])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            records.write(example.SerializeToString())


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
