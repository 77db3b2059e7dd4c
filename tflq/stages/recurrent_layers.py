"""The form of recurrent layers in the file that integer variants are quantized from: a loop, or a fused op."""

from __future__ import annotations

import math
from pathlib import Path

from tflq import conversion, refine
from tflq.calibrate.calibration_data import RecurrentForm
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import ConversionError
from tflq.flatbuffer import Graph, mapped
from tflq.flatbuffer.loops import LOOP, WITH_INTERMEDIATES, loop_obstacle, loops
from tflq.modes import Float32
from tflq.sources.fused_lstm import write_fused
from tflq.sources.keras_file import Keras
from tflq.sources.prepared import PreparedSource
from tflq.stages.context import RunContext
from tflq.stages.state import ConvertibleSource
from tflq.worker import Task

FUSED = "fused.tflite"
LEAST_SQNR = 60.0
"""The least fidelity in dB of the float32 file with fused ops to the float32 file. Sums in another order give more."""
COMPARED_CALLS = 16


def quantizable_model(
    context: RunContext, source: ConvertibleSource, samples: CalibrationSamples
) -> tuple[Path, RecurrentForm | None]:
    """Return the float32 file to observe and to quantize, and what recurrent layers are in it.

    Raises ConversionError if a loop can be neither fused nor computed in integers, or if the recipe demands fused ops.
    """
    graph = mapped(context.float32)
    if LOOP not in _types(graph):
        return context.float32, None
    fused = _fused(context, source, samples)
    if isinstance(fused, Path):
        return fused, RecurrentForm(True, _fused_in_words(mapped(fused)))
    if isinstance(context.recipe.model, Keras) and context.recipe.model.recurrent == "fused":
        reason = fused or "the model has no LSTM of Keras 3"
        raise ConversionError(f"model.recurrent: fused is not possible: {reason}. Set it to auto or loop")
    if (obstacle := loop_obstacle(graph)) is not None:
        raise ConversionError(
            f"no integer file is possible with this loop (WHILE): {obstacle}. Use mode dynamic or float16, or build the"
            " recurrent layers with unroll=True"
        )
    return context.float32, RecurrentForm(False, _loops_in_words(graph, fused))


def _fused_in_words(graph: Graph) -> str:
    count = sum(operator.type in WITH_INTERMEDIATES for _, operator in graph.operators())
    ops = "1 fused op (UNIDIRECTIONAL_SEQUENCE_LSTM)" if count == 1 else f"{count} fused ops"
    return (
        f"the LSTM layers were built again in tf-keras with the same weights, so integer files have {ops} instead of"
        " loops; the outputs in float32 were compared, and model.recurrent: loop keeps the loops"
    )


def _loops_in_words(graph: Graph, reason: str) -> str:
    count = len(loops(graph))
    are = "1 loop (WHILE) is" if count == 1 else f"{count} loops (WHILE) are"
    return f"{are} computed in integers; each iteration was a sample of its ranges" + (
        f"; the LSTM layers stay loops, because {reason}" if reason else ""
    )


def _fused(context: RunContext, source: ConvertibleSource, samples: CalibrationSamples) -> Path | str:
    """Return the float32 file with fused ops, or why there is none. The reason is empty if none is expected."""
    model, target = context.recipe.model, context.folder / FUSED
    if not isinstance(model, Keras) or model.keras_version < 3 or model.recurrent == "loop":
        return ""
    if model.recurrent == "auto" and (reason := _reason_for_loops(context)):
        return reason
    if target.exists():
        return target
    stage = "build the LSTM layers again in tf-keras"
    task = Task(stage, write_fused, (model, source.prepared, context.folder / "fused"), ConversionError)
    rebuilt = context.workers.run(task).value
    if not isinstance(rebuilt, PreparedSource):
        return rebuilt
    return _converted(context, rebuilt, samples)


def _reason_for_loops(context: RunContext) -> str:
    """Return which part of the recipe fused ops do not support; empty if they support all."""
    if context.calibration.method != "minmax":
        return "fused ops support only calibration.ranges: minmax"
    strict = [variant.name for variant in context.recipe.variants if variant.mode == "int16x8_only"]
    return f"the quantizer has no int16 form of the fused op, which {strict[0]} would need" if strict else ""


def _converted(context: RunContext, rebuilt: PreparedSource, samples: CalibrationSamples) -> Path | str:
    """Convert the model with layers of tf-keras to a float32 file, and compare its outputs with the float32 file's."""
    target, unproven = context.folder / FUSED, context.folder / f"unproven {FUSED}"
    arguments = (rebuilt, Float32(), unproven)
    context.workers.run(Task("convert the fused layers", conversion.convert, arguments, ConversionError))
    types = _types(mapped(unproven))
    if LOOP in types or not types & WITH_INTERMEDIATES:
        return "not all recurrent layers of the model can be fused"
    calls = range(min(COMPARED_CALLS, samples.samples.number_of_calls))
    compared = (unproven, context.float32, (samples.samples, calls))
    task = Task("compare the fused layers", refine.output_errors, compared, ConversionError)
    for name, errors in context.workers.run(task).value.items():
        if not math.isnan(errors.sqnr_db) and errors.sqnr_db < LEAST_SQNR:
            return f"with fused ops the output {name!r} has an SQNR of only {errors.sqnr_db:.0f} dB in float32"
    unproven.replace(target)
    return target


def _types(graph: Graph) -> set[str]:
    return {operator.type for _, operator in graph.operators()}
