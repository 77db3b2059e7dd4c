"""The input of the quantizer: a float32 file with ranges; and the fidelity of its quantized file on hold-out calls."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from tflq import conversion
from tflq.calibrate import Range, Samples
from tflq.flatbuffer import read
from tflq.interpreter import Runner
from tflq.metrics import errors
from tflq.modes import Mode
from tflq.op_selectors import select
from tflq.refine.bias_correction import LayerCorrection, fake_quantize_weights, restore_weights
from tflq.refine.holdout_score import HoldoutScore, SignalAndNoise
from tflq.refine.request import RefinementConfig, RefinementRequest
from tflq.worker import ProgressCallback

MAX_HOLDOUT_CALLS = 32
"""The largest number of hold-out calls; they are a quarter of all calls if that is fewer."""


@dataclass(frozen=True)
class QuantizerInput:
    """A float32 file and the ranges of its activations, from which a variant is quantized."""

    model: Path
    """A float32 file with corrections, or without."""
    original: Path
    """The same file before its layers were corrected; ops that stay in float take their weights from it."""
    ranges: tuple[Range, ...]
    """The ranges of all activations that are quantized."""


@dataclass(frozen=True)
class RefinementReport:
    """The corrections of one variant before quantization, and the scores that they were selected by."""

    config: RefinementConfig
    """The configuration that was kept."""
    scores: tuple[HoldoutScore, ...]
    """The scores of the compared configurations; empty if the recipe leaves no choice."""
    calls: int
    """The number of hold-out calls."""
    corrections: tuple[LayerCorrection, ...]
    obstacle: str = ""
    """The reason why nothing could be compared; empty if there is none."""


@dataclass(frozen=True)
class RefinedInput:
    """The quantizer input of one request, and the report about it."""

    quantizer_input: QuantizerInput
    refinement: RefinementReport

    def save(self, folder: Path) -> None:
        """Write the two files and the values into a new folder."""
        folder.mkdir(parents=True)
        shutil.copy(self.quantizer_input.model, folder / "model.tflite")
        shutil.copy(self.quantizer_input.original, folder / "original.tflite")
        (folder / "refined.json").write_bytes(_REFINED_INPUT.dump_json(self))


def load_refined(folder: Path) -> RefinedInput:
    """Return the value that `RefinedInput.save` wrote into the folder; its paths lie in the folder."""
    refined = _REFINED_INPUT.validate_json((folder / "refined.json").read_bytes())
    here = replace(refined.quantizer_input, model=folder / "model.tflite", original=folder / "original.tflite")
    return replace(refined, quantizer_input=here)


_REFINED_INPUT = TypeAdapter(RefinedInput)


def split_holdout(calls: int) -> tuple[list[int], list[int]]:
    """Return the calls to fit corrections to, and the hold-out calls, which are evenly spread over all calls."""
    count = min(MAX_HOLDOUT_CALLS, calls // 4)
    holdout = [(2 * place + 1) * calls // (2 * count) for place in range(count)]
    return [call for call in range(calls) if call not in holdout], holdout


def scale_ranges(ranges: Sequence[Range], factor: float) -> tuple[Range, ...]:
    """Return the ranges multiplied by the factor (headroom); ranges that the op itself defines stay the same."""
    return tuple(
        range_ if range_.is_fixed else replace(range_, minimum=range_.minimum * factor, maximum=range_.maximum * factor)
        for range_ in ranges
    )


def quantize(report: ProgressCallback, quantizer_input: QuantizerInput, variant: Mode, target: Path) -> tuple[int, ...]:
    """Write the variant's file, and return the indices of the ops that stay in float.

    Ops that stay in float keep the weights that they had before the corrections. Raises RecipeError
    or ConversionError.
    """
    model = quantizer_input.model
    if variant.keep_float and model != quantizer_input.original:
        original = quantizer_input.original.read_bytes()
        float_ops = select(read(original), variant.keep_float)
        model = target.with_suffix(".float32")
        model.write_bytes(restore_weights(quantizer_input.model.read_bytes(), original, float_ops))
    try:
        return conversion.quantize(report, model, quantizer_input.ranges, variant, target)
    finally:
        if model != quantizer_input.model:
            model.unlink()


def holdout_fidelity(
    report: ProgressCallback,
    quantizer_input: QuantizerInput,
    variant: Mode,
    float32: Path,
    data: tuple[Samples, Sequence[int], Path],
) -> dict[str, SignalAndNoise]:
    """Return the fidelity of each output to the float32 file's on hold-out calls.

    `data` holds the calibration samples, the hold-out calls, and the path of a temporary file. For int8, the quantized
    file runs. For int16, the float32 file runs with fake-quantized weights: int16 activations lose next to nothing, and
    LiteRT has no fast kernels for them.
    """
    samples, calls, path = data
    if variant.activation_bits == 16:
        path.write_bytes(
            fake_quantize_weights(quantizer_input.model.read_bytes(), RefinementRequest.by(variant).granularity)
        )
    else:
        quantize(report, quantizer_input, variant, path)
    fidelity = output_errors(report, path, float32, (samples, calls))
    path.unlink()
    return fidelity


def output_errors(
    report: ProgressCallback, path: Path, float32: Path, data: tuple[Samples, Sequence[int]]
) -> dict[str, SignalAndNoise]:
    """Return the sums of squares of each output's values in the float32 file, and of its errors in the other file."""
    samples, calls = data
    rows: dict[str, list[np.ndarray]] = {}
    run_float32, run = Runner(float32), Runner(path)
    for number, arrays in enumerate(samples.calls(calls), 1):
        answers = run(arrays)
        for name, expected in run_float32(arrays).items():
            rows.setdefault(name, []).append(errors(expected, answers[name]))
        report(number, len(calls))
    return {name: SignalAndNoise.of(np.stack(by_call)) for name, by_call in rows.items()}
