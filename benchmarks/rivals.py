"""Quantize a model with other quantizers, in the folder of its samples: MODEL FLOAT32.tflite FOLDER."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

STOCK, LITERT = "TFLiteConverter", "LiteRT Quantizer"
PACKAGE = "litert_quantizer"
"""The package of LiteRT Quantizer, which need not be installed."""
FILES = {
    (STOCK, "int8"): "stock-int8.tflite",
    (STOCK, "int16x8"): "stock-int16x8.tflite",
    (LITERT, "int8"): "litert-int8.tflite",
}


def main(model: Path, float32: Path, folder: Path) -> None:
    with np.load(folder / "calibrate.npz") as held:
        columns = {name: held[name] for name in held.files}
    samples = [
        {name: rows[i : i + 1] for name, rows in columns.items()} for i in range(len(next(iter(columns.values()))))
    ]
    _stock(model, samples, folder)
    if find_spec(PACKAGE):
        _litert(float32, samples, folder)


def _stock(model: Path, samples: list[dict[str, np.ndarray]], folder: Path) -> None:
    import tensorflow as tf

    from tflq.inputs.schema import Input
    from tflq.sources.keras_file import Keras
    from tflq.sources.prepare import prepare
    from tflq.sources.prepared import SIGNATURE
    from tflq.sources.saved_model import SavedModel

    source = Keras(keras=model) if model.suffix == ".keras" else SavedModel(saved_model=model)
    inputs = {name: Input(shape=rows.shape) for name, rows in samples[0].items()}
    prepared = prepare(lambda *_: None, source, inputs, folder / "prepared")
    ops = tf.lite.OpsSet
    for mode in ("int8", "int16x8"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(prepared.path), signature_keys=[SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter(samples)
        if mode == "int16x8":
            int16x8 = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [int16x8, ops.TFLITE_BUILTINS]
        (folder / FILES[STOCK, mode]).write_bytes(converter.convert())


def _litert(float32: Path, samples: list[dict[str, np.ndarray]], folder: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import calibrator, quantizer, recipe
    from litert_quantizer.qtyping import TFLOperationName

    (key,) = Interpreter(str(float32)).get_signature_list()
    made = quantizer.Quantizer(str(float32))
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        made.update_quantization_recipe(".*", end, None, algorithm_key="no_quantize")
    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    found = made.calibrate({key: samples}, num_threads=1, mode=mode)
    quantized = made.quantize(found, enable_progress_report=False).quantized_model
    (folder / FILES[LITERT, "int8"]).write_bytes(bytes(quantized))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
