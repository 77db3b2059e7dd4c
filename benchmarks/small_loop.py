"""The loop that one would write without tflq for many small models: convert, quantize and run each, in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def main(models: str, samples: str, target: str) -> None:
    vectors = np.load(samples)["x"]

    def feed() -> Iterator[list[np.ndarray]]:
        for vector in vectors:
            yield [vector[np.newaxis]]

    for path in sorted(Path(models).glob("*.keras")):
        model = keras.models.load_model(path)
        for mode in ("float32", "int8"):
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            if mode == "int8":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = feed
            content = converter.convert()
            Path(target, f"{path.stem}-{mode}.tflite").write_bytes(content)
            run(content, vectors)


def run(content: bytes, vectors: np.ndarray) -> None:
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (place,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    for vector in vectors:
        interpreter.set_tensor(place["index"], vector[np.newaxis])
        interpreter.invoke()
        interpreter.get_tensor(answer["index"])


if __name__ == "__main__":
    main(*sys.argv[1:])
