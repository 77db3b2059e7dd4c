"""TensorFlow's public converter, which loads, converts, calibrates and quantizes for each file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tflq.calibrate.samples import Samples
from tflq.conversion.converter_errors import explaining
from tflq.conversion.weight_only import with_integer_weights
from tflq.datasets import Sample
from tflq.errors import ConversionError
from tflq.modes import Mode, WeightOnly
from tflq.sources.prepared import SIGNATURE, PreparedSource
from tflq.worker import ProgressCallback


def convert_publicly(
    report: ProgressCallback, prepared: PreparedSource, variant: Mode, target: Path, samples: Samples | None = None
) -> None:
    """Write the file of the variant to `target`. ConversionError, with cause and remedy, if TensorFlow fails."""
    import tensorflow as tf

    if prepared.is_tflite:
        _copy_float32(prepared, variant, target)
        return
    asked = {"keep_float": variant.keep_float, "keep_int16": variant.keep_int16, "sparse": variant.sparse == "on"}
    for key, is_asked in asked.items():
        if is_asked:
            raise ConversionError(
                f"{key}: only internal functions of the converter can do this, but this version of"
                f" TensorFlow lacks functions that tflq needs. Remove {key}, or install another version of TensorFlow"
            )
    converter = tf.lite.TFLiteConverter.from_saved_model(str(prepared.path), signature_keys=[SIGNATURE])
    set_up(converter, prepared, variant)
    if variant.needs_ranges and samples is not None:
        converter.representative_dataset = feed(report, samples, _passes(variant))
    with explaining(variant.select_tf_ops):
        content = converter.convert()
        target.write_bytes(with_integer_weights(content, variant)[0] if isinstance(variant, WeightOnly) else content)


def _copy_float32(prepared: PreparedSource, variant: Mode, target: Path) -> None:
    """Copy the .tflite source, which the public converter cannot read, as the float32 file."""
    if variant.mode != "float32":
        raise ConversionError(
            "only internal functions of the converter read a .tflite file, but this version of TensorFlow lacks"
            " functions that tflq needs. Give the model as a SavedModel, or install another version of TensorFlow"
        )
    shutil.copyfile(prepared.path, target)


def set_up(converter: Any, prepared: PreparedSource, variant: Mode) -> None:
    """Set the options of the variant, except the calibration samples."""
    variant.configure(converter)
    # Keras 3 leaves the batch size inside a recurrent layer open even if the signature fixes it.
    converter._experimental_default_to_single_batch_in_tensor_list_ops = prepared.batch == 1


def feed(report: ProgressCallback, samples: Samples, passes: int = 1) -> Callable[[], Iterator[Sample]]:
    """Return the samples as a representative dataset, which the converter reads `passes` times."""
    calls, done = samples.number_of_calls, 0

    def batches() -> Iterator[Sample]:
        nonlocal done
        for arrays in samples.calls(range(calls)):
            yield arrays
            done += 1
            report(min(done, passes * calls), passes * calls)

    return batches


def _passes(variant: Mode) -> int:
    """Return how often the converter reads the samples. It reads them twice for 16-bit activations."""
    return 2 if "16x8" in variant.mode else 1
