"""The script that one would write without tflq: a converter for each mode, over the same model and the same samples.

`python by_hand.py MODEL SAMPLES.npz FOLDER MODE...`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(model: str, samples: str, target: str, *modes: str) -> None:  # noqa: C901  (such scripts are in one piece)
    images = np.load(samples)["image"]

    def feed() -> Iterator[dict[str, np.ndarray]]:
        for image in images:
            yield {"image": image[np.newaxis].astype(np.float32) / 255}

    ops = tf.lite.OpsSet
    int16x8 = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    for name in modes:
        converter = tf.lite.TFLiteConverter.from_saved_model(model)
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if name.startswith("int"):
            converter.representative_dataset = feed
        if name == "int8_only":
            converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        if name == "int16x8":
            converter.target_spec.supported_ops = [int16x8, ops.TFLITE_BUILTINS]
        Path(target, f"{name}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
