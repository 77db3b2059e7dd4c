"""The input of the quantizer: a float32 file with ranges; and the report of how it was selected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from tflq import cache, conversion
from tflq.calibrate.ranges import Range
from tflq.contract import NamedOps
from tflq.flatbuffer import mapped, read
from tflq.inputs.schema import Input
from tflq.modes import Mode
from tflq.op_selectors import select
from tflq.refine.corrected_model import LayerCorrection, restore_weights
from tflq.refine.holdout_score import HoldoutScore
from tflq.refine.pinned_inputs import pin_inputs
from tflq.refine.request import RefinementConfig
from tflq.worker import ProgressCallback

NO_INPUTS: Mapping[str, Input] = {}


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
    leaves_out_activations: bool = False
    """Whether the scores are of rounded weights alone, without the rounding of activations."""
    on_all_calls: tuple[HoldoutScore, ...] = ()
    """The scores without and with headroom on all calls, if the hold-out calls did not decide; else empty."""
    beyond_budget: tuple[str, ...] = ()
    """The keys of corrections that were not compared, since they take too long; see `budget.py`."""


@dataclass(frozen=True)
class RefinedInput:
    """The quantizer input of one request, and the report about it."""

    quantizer_input: QuantizerInput
    refinement: RefinementReport

    def save(self, folder: Path) -> None:
        """Write the two files and the values into a new folder."""
        folder.mkdir(parents=True)
        cache.link(self.quantizer_input.model, folder / "model.tflite")
        cache.link(self.quantizer_input.original, folder / "original.tflite")
        (folder / "refined.json").write_bytes(_REFINED_INPUT.dump_json(self))


def load_refined(folder: Path) -> RefinedInput:
    """Return the value that `RefinedInput.save` wrote into the folder; its paths lie in the folder."""
    refined = _REFINED_INPUT.validate_json((folder / "refined.json").read_bytes())
    here = replace(refined.quantizer_input, model=folder / "model.tflite", original=folder / "original.tflite")
    return replace(refined, quantizer_input=here)


_REFINED_INPUT = TypeAdapter(RefinedInput)


def scale_ranges(ranges: Sequence[Range], factor: float) -> tuple[Range, ...]:
    """Return the ranges multiplied by the factor (headroom); ranges that the op itself defines stay the same."""
    return tuple(
        range_ if range_.is_fixed else replace(range_, minimum=range_.minimum * factor, maximum=range_.maximum * factor)
        for range_ in ranges
    )


def quantize(
    report: ProgressCallback,
    quantizer_input: QuantizerInput,
    variant: Mode,
    target: Path,
    inputs: Mapping[str, Input] = NO_INPUTS,
) -> NamedOps:
    """Write the variant's file, and return its ops that keep_float and keep_int16 name.

    `inputs` is that section of the recipe, which may say how the inputs of the file are quantized.

    Ops that stay in float keep the weights that they had before the corrections. Raises RecipeError
    or ConversionError.
    """
    with _with_own_weights(quantizer_input, variant, target) as model:
        ranges = pin_inputs(mapped(model), quantizer_input.ranges, inputs, variant)
        return conversion.quantize(report, model, ranges, variant, target)


def quantize_to_compare(quantizer_input: QuantizerInput, variant: Mode, target: Path) -> None:
    """Write a file that has the outputs of the file of `quantize` without `inputs`, but no metadata.

    Raises RecipeError or ConversionError.
    """
    with _with_own_weights(quantizer_input, variant, target) as model:
        conversion.quantize_to_compare(model, quantizer_input.ranges, variant, target)


@contextmanager
def _with_own_weights(quantizer_input: QuantizerInput, variant: Mode, target: Path) -> Iterator[Path]:
    """Yield the float32 file in which the ops that stay in float have the weights that they had before corrections."""
    model = quantizer_input.model
    if variant.keep_float and model != quantizer_input.original:
        original = quantizer_input.original.read_bytes()
        float_ops = select(read(original), variant.keep_float)
        model = target.with_suffix(".float32")
        model.write_bytes(restore_weights(quantizer_input.model.read_bytes(), original, float_ops))
    try:
        yield model
    finally:
        if model != quantizer_input.model:
            model.unlink()
