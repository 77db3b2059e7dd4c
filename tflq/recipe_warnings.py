"""Warnings of a recipe: keys that are allowed, but that are probably a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.datasets import Random
from tflq.recipe import Recipe


def warnings(recipe: Recipe) -> Iterator[str]:
    """Yield a warning for everything that is allowed but probably a mistake."""
    if isinstance(recipe.measured_on.dataset, Random):
        yield "measured on random numbers, not on real data: the figures do not show real accuracy"
    if recipe.calibration and isinstance(recipe.calibration.dataset, Random):
        yield "calibrated on random numbers, not on real data: use the integer files only for a trial"
    if recipe.evaluation is None and recipe.calibration:
        yield "there is no evaluation: fidelity is measured on the calibration samples, so it looks too good"
    if recipe.calibration and not any(variant.reads_samples for variant in recipe.variants):
        yield "calibration is given, but no variant uses it"
    pinned = [name for name, section in recipe.inputs.items() if section.quantization is not None]
    if pinned and all(variant.inference_input_type == "float32" for variant in recipe.variants):
        yield f"inputs.{pinned[0]}.quantization is given, but no variant has integer inputs: set inference_input_type"
    yield from _warnings_of_training(recipe)
    if recipe.calibration and recipe.evaluation and recipe.calibration.dataset == recipe.evaluation.dataset:
        yield "calibration and evaluation use the same dataset, so the results may look too good"


def _warnings_of_training(recipe: Recipe) -> Iterator[str]:
    section = recipe.training
    if section is None:
        return
    if not recipe.techniques:
        yield "training is given, but no variant uses the trained model"
    elif set(recipe.techniques) < set(section.techniques):
        yield "training.techniques has quantize, but no variant has the mode qat_int8 or qat_int8_only"
    if isinstance(section.dataset, Random):
        yield "trained on random numbers, not on real data: use the trained files only for a trial"
    if recipe.evaluation and section.dataset == recipe.evaluation.dataset:
        yield "training and evaluation use the same dataset, so the results of trained variants may look too good"
    if recipe.evaluation and section.validation and section.validation.dataset == recipe.evaluation.dataset:
        yield "training.validation and evaluation use the same dataset, so the epoch was chosen on the test data"
