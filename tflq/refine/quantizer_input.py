"""What a variant may be quantized from, and how near its file is to the float model then, on samples held back."""

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
"""Calls to decide on, at most; one in four is."""


@dataclass(frozen=True)
class QuantizerInput:
    """What a variant may be quantized from."""

    model: Path
    """A float32 file that answers as the source does, or nearly."""
    original: Path
    """The same before its layers were corrected, from which ops that stay in float have their weights."""
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class Refinement:
    """What was done before quantizing, and why."""

    kept: RefinementConfig
    attempts: tuple[HoldoutScore, ...]
    """On samples held back; none where the recipe left nothing to decide."""
    calls: int
    """How many calls were held back."""
    corrections: tuple[LayerCorrection, ...]
    fault: str = ""
    """Why nothing could be tried, or seen to help."""


@dataclass(frozen=True)
class RefinedInput:
    quantizer_input: QuantizerInput
    refinement: Refinement

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        shutil.copy(self.quantizer_input.model, folder / "model.tflite")
        shutil.copy(self.quantizer_input.original, folder / "original.tflite")
        (folder / "refined.json").write_bytes(_REFINED_INPUT.dump_json(self))


def load_refined(folder: Path) -> RefinedInput:
    """What was saved in the folder."""
    refined = _REFINED_INPUT.validate_json((folder / "refined.json").read_bytes())
    here = replace(refined.quantizer_input, model=folder / "model.tflite", original=folder / "original.tflite")
    return replace(refined, quantizer_input=here)


_REFINED_INPUT = TypeAdapter(RefinedInput)


def split_holdout(calls: int) -> tuple[list[int], list[int]]:
    """The calls to fit to, and those to decide on, evenly spread."""
    count = min(MAX_HOLDOUT_CALLS, calls // 4)
    held = [(2 * place + 1) * calls // (2 * count) for place in range(count)]
    return [call for call in range(calls) if call not in held], held


def scale_ranges(ranges: Sequence[Range], factor: float) -> tuple[Range, ...]:
    """Ranges with room for what no sample showed; ops with a range of their own keep it."""
    return tuple(
        found if found.is_fixed else replace(found, minimum=found.minimum * factor, maximum=found.maximum * factor)
        for found in ranges
    )


def quantize(report: ProgressCallback, quantizer_input: QuantizerInput, variant: Mode, target: Path) -> tuple[int, ...]:
    """Make the variant's file as `conversion.quantize` does; ops that stay in float are as they were."""
    model = quantizer_input.model
    if variant.keep_float and model != quantizer_input.original:
        original = quantizer_input.original.read_bytes()
        kept = select(read(original), variant.keep_float)
        model = target.with_suffix(".float32")
        model.write_bytes(restore_weights(quantizer_input.model.read_bytes(), original, kept))
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
    """How near each output is to the float32 file's on those calls; the path is for a file meanwhile.

    For int8 it is that of the quantized file. Activations of int16 lose next to nothing, and LiteRT has no fast kernels
    for them, so what is run there is the float32 file with its weights on their grid.
    """
    samples, calls, path = data
    if variant.activation_bits == 16:
        path.write_bytes(
            fake_quantize_weights(quantizer_input.model.read_bytes(), RefinementRequest.by(variant).granularity)
        )
    else:
        quantize(report, quantizer_input, variant, path)
    found = output_errors(report, path, float32, (samples, calls))
    path.unlink()
    return found


def output_errors(
    report: ProgressCallback, path: Path, float32: Path, data: tuple[Samples, Sequence[int]]
) -> dict[str, SignalAndNoise]:
    """How near each output of a file is to the float32 file's on those calls."""
    samples, calls = data
    rows: dict[str, list[np.ndarray]] = {}
    truth, run = Runner(float32), Runner(path)
    for number, arrays in enumerate(samples.calls(calls), 1):
        answers = run(arrays)
        for name, expected in truth(arrays).items():
            rows.setdefault(name, []).append(errors(expected, answers[name]))
        report(number, len(calls))
    return {name: SignalAndNoise.of(np.stack(each)) for name, each in rows.items()}
