"""Train a small convolutional network on scikit-learn's handwritten digits, and write all that recipe.yaml reads.

build/digits        the SavedModel: `image` float32 [batch, 8, 8, 1] in [0, 1] → `logits` float32 [batch, 10]
build/digits.keras  the same network as a Keras archive
build/tfds          the pictures as a TensorFlow dataset, splits train and test: `image` uint8 [8, 8, 1], `label`
build/train.log     what TensorFlow said meanwhile

From the root: python -m examples.digits.train
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from examples.handwritten_digits import Split, digit_images, fit, make_reproducible, scaled, split_off
from examples.quiet import output_in

if TYPE_CHECKING:
    import keras

BUILD = Path(__file__).parent / "build"
TEST_PICTURES = 500


def main() -> None:
    BUILD.mkdir(exist_ok=True)
    begin = time.monotonic()
    with output_in(BUILD / "train.log"):
        splits = load_splits()
        model = train(splits["train"])
        accuracy = model.evaluate(scaled(splits["test"][0]), splits["test"][1], verbose=0)[1]
        save(model)
        write_dataset(splits)
    print(f"trained    {model.count_params():,} parameters in {time.monotonic() - begin:.0f} s")
    print(f"accuracy   {accuracy:.4f} on {TEST_PICTURES} test pictures")
    for name in ("digits", "digits.keras", "tfds"):
        print(f"written    {os.path.relpath(BUILD / name)}")


def load_splits() -> dict[str, Split]:
    train, test = split_off(digit_images(), TEST_PICTURES)
    return {"train": train, "test": test}


def train(split: Split) -> keras.Model:
    make_reproducible()
    model = network()
    fit(model, split, rate=3e-3, metrics=["accuracy"])
    return model


def network() -> keras.Model:
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(6),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(6),
            layers.Conv2D(32, 1, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(48, activation="relu"),
            layers.Dense(10, name="logits"),
        ]
    )


def save(model: keras.Model) -> None:
    import keras
    import tensorflow as tf

    model.save(BUILD / "digits.keras")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image: {"logits": model(image, training=False)},
        input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name="image")],
    )
    archive.write_out(BUILD / "digits", verbose=False)


def write_dataset(splits: dict[str, Split]) -> None:
    import tensorflow_datasets as tfds

    folder = BUILD / "tfds" / "digits" / "1.0.0"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity("digits", tfds.core.Version("1.0.0"), str(folder), __name__),
        description="Handwritten digits of the UCI repository, as scikit-learn ships them.",
        homepage="https://archive.ics.uci.edu/dataset/80",
        features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
        ),
    )
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=2000)
    writer.initialize_splits(list(splits))
    for name, (images, labels) in splits.items():
        rows = [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]
        writer.add_examples({name: rows})
    writer.close_all()


if __name__ == "__main__":
    main()
