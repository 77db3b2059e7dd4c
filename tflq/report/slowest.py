"""Find the part of a run that took longest, and the key of the recipe that makes it shorter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tflq.recipe import Recipe
from tflq.refine import CORRECTIONS
from tflq.result import Run

MIN_RUN_SECONDS = 10.0
MIN_SHARE = 0.3
"""The least share of a run that is worth a sentence."""


@dataclass(frozen=True)
class RunPart:
    """Stages that belong together: the first words of their names, and what the user can do about their time."""

    name: str
    stages: tuple[str, ...]
    advice: str


def slowest(run: Run, recipe: Recipe) -> str:
    """Return what took longest and how to shorten it; an empty text if the run is short or nothing stands out."""
    total = sum(stage.seconds for stage in run.stages)
    if run.seconds < MIN_RUN_SECONDS or not total:
        return ""
    shares = {part: _seconds(run, part) / total for part in _parts(recipe)}
    part = max(shares, key=lambda part: shares[part])
    if shares[part] < MIN_SHARE or not part.advice:
        return ""
    return f"{part.name} took about {shares[part] * run.seconds:.0f} of {run.seconds:.0f} s: {part.advice}"


def _parts(recipe: Recipe) -> Iterator[RunPart]:
    corrections = (
        *("find the mean inputs ", "find the second moments ", "compute ranges", "compare ", "correct the layers of "),
        *("run the float32 file on hold-out samples", *(each.stage for each in CORRECTIONS if each.stage)),
    )
    yield RunPart("training", ("train",), "")
    yield RunPart("converting", ("convert ",), "")
    yield RunPart("reading", ("read ", "open "), "")
    yield RunPart("comparing corrections", corrections, "converter.bias_correction: off leaves them out")
    if recipe.calibration:
        observing = ("observe the activations", "calibrate with TensorFlow")
        yield RunPart("observing activations", observing, "a smaller calibration.samples shortens it")
    section = "evaluation" if recipe.evaluation else "calibration" if recipe.calibration else ""
    yield RunPart("measuring", ("measure",), section and f"a smaller {section}.samples shortens it")
    yield RunPart("timing", ("time ",), "latency: off leaves it out")


def _seconds(run: Run, part: RunPart) -> float:
    return sum(stage.seconds for stage in run.stages if stage.name.startswith(part.stages))
