"""End a SavedModel at the tensors that the recipe chooses as outputs: the end is found in the float32 file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tflq.conversion.tf_internal import convert
from tflq.datasets import TensorSpec
from tflq.errors import ConversionError
from tflq.flatbuffer import edit, load, size_by_dtype
from tflq.modes import Float32
from tflq.sources.outputs import end_model
from tflq.sources.prepared import PreparedSource
from tflq.sources.tflite_file import PREPARED_TFLITE, outputs_of
from tflq.worker import ProgressCallback


def end_source(
    report: ProgressCallback, prepared: PreparedSource, names: Sequence[str], folder: Path
) -> PreparedSource:
    """Write the float32 file of the model that ends at these tensors, and return it as the source.

    Ops behind the end may be of any kind. ConversionError, with cause and remedy, if TensorFlow fails. RecipeError if
    the model has no such tensors.
    """
    target = folder / PREPARED_TFLITE
    try:
        convert(report, prepared, Float32(), target)
    except ConversionError:
        convert(report, prepared, Float32(allow_custom_ops=True, select_tf_ops=True), target)
    model = edit.unpack(target.read_bytes())
    end_model(model, load(target), names)
    edit.write(model, target)
    graph = load(target)
    outputs: tuple[TensorSpec, ...] = outputs_of(graph)
    weights = dict(size_by_dtype(graph)).get("float32", 0)
    return replace(prepared, original=None, path=target, outputs=outputs, weight_bytes=weights)
