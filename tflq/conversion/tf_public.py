"""TensorFlow's converter as everybody uses it: loads, converts, calibrates and quantizes, all for one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tflq.calibrate import Samples
from tflq.conversion.converter_errors import explaining
from tflq.datasets import Sample
from tflq.errors import ConversionError
from tflq.modes import Mode
from tflq.sources import SIGNATURE, Prepared
from tflq.worker import ProgressCallback


def convert_publicly(
    report: ProgressCallback, prepared: Prepared, variant: Mode, target: Path, samples: Samples | None = None
) -> None:
    """Make the variant's file at `target`; ConversionError with the cause and a remedy where TensorFlow cannot."""
    import tensorflow as tf

    if variant.keep_float:
        raise ConversionError(
            "keep_float: only the converter's inner parts can leave single ops in float, and this TensorFlow lacks what"
            " tflq uses of them"
        )
    converter = tf.lite.TFLiteConverter.from_saved_model(str(prepared.saved_model), signature_keys=[SIGNATURE])
    set_up(converter, prepared, variant)
    if variant.needs_ranges and samples is not None:
        converter.representative_dataset = feed(report, samples, _passes(variant))
    with explaining():
        target.write_bytes(converter.convert())


def set_up(converter: Any, prepared: Prepared, variant: Mode) -> None:
    """Ask for the variant; calibration data apart."""
    variant.configure(converter)
    # Keras 3 leaves the batch open inside of a recurrent layer even where the signature's is known.
    converter._experimental_default_to_single_batch_in_tensor_list_ops = prepared.batch == 1


def feed(report: ProgressCallback, samples: Samples, passes: int = 1) -> Callable[[], Iterator[Sample]]:
    """The samples as a representative dataset, which the converter goes through that many times."""
    calls, fed = samples.number_of_calls, 0

    def batches() -> Iterator[Sample]:
        nonlocal fed
        for arrays in samples.calls(range(calls)):
            yield arrays
            fed += 1
            report(min(fed, passes * calls), passes * calls)

    return batches


def _passes(variant: Mode) -> int:
    """How often the converter runs through the samples: it reads them again for 16-bit activations."""
    return 2 if "16x8" in variant.mode else 1
