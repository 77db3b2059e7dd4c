"""Which variant to ship: the field's decision, walked over what a run has measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tflq.datasets import Random
from tflq.errors import RecipeError
from tflq.modes import CALIBRATED, QAT_MODES, ModeName
from tflq.recipe import Recipe, dump
from tflq.sources import SavedModel

Target = Literal["cpu", "gpu", "integer"]
TOLERATED = 0.01
"""A drop in the metric that most would take; the recipe's gate, if it has one, says better."""
ALIKE = 1.05
"""Files that differ in size by less are of one size."""
REPORT = "report.json"


@dataclass(frozen=True)
class MeasuredVariant:
    """A variant as the report has it."""

    name: str
    mode: str
    status: str
    is_trained: bool
    size_bytes: int
    milliseconds: float | None
    loss: float | None
    """What is lost of the metric against the float32 .tflite; without a metric, the share of answers that differ."""
    margin: float
    """Half of the interval of it."""

    @property
    def lost(self) -> str:
        return f"{self.loss:.4f}" + (f" ±{self.margin:.4f}" if self.margin else "")


@dataclass(frozen=True)
class MeasuredRun:
    """What a run of the recipe left."""

    metric: str
    """What a loss is of, in words."""
    variants: tuple[MeasuredVariant, ...]
    is_stale: bool
    """Whether the recipe is another one by now."""


@dataclass(frozen=True)
class Advice:
    """One variant, why, and whether training is worth it."""

    recommended: str
    reason: str
    training: str


def read(recipe: Recipe) -> MeasuredRun:
    """What was measured in the recipe's output folder; RecipeError where nothing was, with what to run."""
    path = recipe.output / REPORT
    remedy = f"run first: tflq convert, with this recipe; it writes {path}"
    if not path.is_file():
        raise RecipeError(f"{recipe.name}: nothing has been measured yet; {remedy}")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        variants = tuple(_found(variant) for variant in plain["variants"] if variant["file"] and variant["mode"])
        text = hashlib.sha256(dump(recipe, recipe.output).encode()).hexdigest()
        is_stale = bool(plain["recipe_sha256"] != text)
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: is no report of this version of tflq; {remedy}") from error
    if isinstance(recipe.measured_on.dataset, Random):
        raise RecipeError(
            f"{recipe.name}: was measured on random numbers, which say nothing of accuracy; give evaluation with a"
            " dataset of yours, a label and a metric, and run tflq convert"
        )
    if not any(variant.loss is not None for variant in variants):
        raise RecipeError(
            f"{recipe.name}: no loss has been measured; give evaluation.label and evaluation.metric, and run tflq"
            " convert"
        )
    metric = recipe.measured_on.scoring
    return MeasuredRun(metric.name if metric else "answers like the float32 file's", variants, is_stale)


def _found(variant: dict[str, Any]) -> MeasuredVariant:
    loss, margin = None, 0.0
    if variant["metric"]:
        loss, (low, high) = variant["metric"]["drop"], variant["metric"]["ci95"]
        margin = (high - low) / 2
    elif variant["fidelity"]:
        agreed = [output["agreement"] for output in variant["fidelity"].values() if output["agreement"] is not None]
        loss = 1 - min(agreed) if agreed else None
    return MeasuredVariant(
        name=variant["name"],
        mode=variant["mode"],
        status=variant["status"],
        is_trained=variant.get("trained", False),
        size_bytes=variant["size_bytes"],
        milliseconds=variant["latency_ms"]["median"] if variant["latency_ms"] else None,
        loss=loss,
        margin=margin,
    )


def advise(recipe: Recipe, measured: MeasuredRun, target: Target, tolerated: float) -> Advice:
    """Recommend the smallest of the variants that run on the target and lose no more than is tolerated."""
    able = [one for one in measured.variants if _runs_on(one, target) and one.status in ("ok", "failed")]
    known = [(one.loss, one) for one in able if one.loss is not None]
    if not known:
        names = ", ".join(dict.fromkeys(_modes_for(target)))
        raise RecipeError(f"{recipe.name}: no variant that was measured suits {WORDS[target]}: add one of {names}")
    passed = [one for loss, one in known if loss <= tolerated and one.status == "ok"]
    metric = measured.metric
    chosen = _smallest(passed) if passed else min(known, key=lambda pair: pair[0])[1]
    return Advice(
        f"{chosen.name}: {recipe.output / f'{recipe.name}-{chosen.name}.tflite'}",
        _reason(
            chosen,
            passed,
            [one for _, one in known],
            f"{WORDS[target]}, at a loss of at most {tolerated:g} in {metric}",
        )
        + _untried(recipe, measured, target, passed),
        _training(recipe, measured, tolerated, chosen),
    )


SMALLER: dict[Target, tuple[ModeName, ...]] = {
    "cpu": ("int8", "dynamic", "int16x8", "float16"),
    "gpu": ("float16",),
    "integer": ("int8_only", "int16x8_only"),
}
"""What the field tries, before it trains."""
WORDS = {"cpu": "a CPU", "gpu": "a GPU", "integer": "integer-only hardware"}


def _modes_for(target: Target) -> Sequence[str]:
    return {
        "cpu": ("dynamic", "int8"),
        "gpu": ("float16", "float32"),
        "integer": ("int8_only", "int16x8_only", "qat_int8_only"),
    }[target]


def _runs_on(variant: MeasuredVariant, target: Target) -> bool:
    return target == "cpu" or variant.mode in _modes_for(target)


def _smallest(variants: Sequence[MeasuredVariant]) -> MeasuredVariant:
    """Of those that are about as small as the smallest, the one that loses least; of equals the smallest."""
    least = min(variant.size_bytes for variant in variants)
    alike = [variant for variant in variants if variant.size_bytes <= ALIKE * least]
    return min(alike, key=lambda variant: (variant.loss or 0.0, variant.size_bytes))


def _reason(
    chosen: MeasuredVariant, passed: Sequence[MeasuredVariant], able: Sequence[MeasuredVariant], asked: str
) -> str:
    time = "" if chosen.milliseconds is None else f", {chosen.milliseconds:.3g} ms"
    figures = f"{chosen.size_bytes:,} bytes{time}, loses {chosen.lost}"
    if not passed:
        return f"for {asked}, nothing passes every gate; this loses least ({figures})"
    smaller = [one for one in able if one.size_bytes < chosen.size_bytes / ALIKE and one not in passed]
    others = ", ".join(f"{one.name} ({'fails a gate' if one.status == 'failed' else one.lost})" for one in smaller)
    first, more = _standing(chosen, passed)
    return f"{first} for {asked} ({figures}){more}" + (f"; smaller, but out: {others}" if others else "")


def _standing(chosen: MeasuredVariant, passed: Sequence[MeasuredVariant]) -> tuple[str, str]:
    """How the size of the chosen variant compares with the sizes of all that passed, and what is smaller still."""
    least = min(passed, key=lambda one: one.size_bytes)
    if len(passed) == 1:
        return "the only one", ""
    if chosen.size_bytes == least.size_bytes:
        return f"the smallest of {len(passed)}", ""
    part = 1 - least.size_bytes / chosen.size_bytes
    smaller = f"; {least.name} is only {part:.1%} smaller ({least.size_bytes:,} bytes) and loses {least.lost}"
    return f"one of the smallest of {len(passed)}", smaller


def _untried(recipe: Recipe, measured: MeasuredRun, target: Target, passed: Sequence[MeasuredVariant]) -> str:
    """What would be smaller than float32, and needs no training, where nothing that was measured is."""
    if any(one.mode != "float32" for one in passed):
        return ""
    tried = {one.mode for one in measured.variants}
    modes = [mode for mode in SMALLER[target] if mode not in tried]
    if recipe.calibration is None:
        modes = [mode for mode in modes if mode not in CALIBRATED]
    return f"; not tried yet: {', '.join(modes)}" if modes else ""


def _training(recipe: Recipe, measured: MeasuredRun, tolerated: float, chosen: MeasuredVariant) -> str:
    """Whether it is worth it: where post-training int8 loses too much, and only there."""
    plain = [one for one in measured.variants if one.mode in ("int8", "int8_only") and not one.is_trained]
    known = [(one.loss, one) for one in plain if one.loss is not None]
    learned = [(one.loss, one) for one in measured.variants if one.mode in QAT_MODES and one.loss is not None]
    if not known:
        data = "" if recipe.calibration else ", with calibration data"
        return f"whether it is worth it shows once int8 is measured: add int8 to variants{data}"
    loss, int8 = min(known, key=lambda pair: pair[0])
    if loss <= tolerated:
        return f"not worth it: without any, {int8.name} loses {int8.lost}"
    if not learned:
        return f"worth it where int8 is wanted: {int8.name} loses {int8.lost}; {_how(recipe)}"
    least, best = min(learned, key=lambda pair: pair[0])
    if least > tolerated:
        return (
            f"helped too little: {int8.name} loses {int8.lost}, {best.name} {best.lost}; try more epochs, another"
            " learning_rate, or skip_layers for the most sensitive"
        )
    worth = "was worth it" if chosen.is_trained else "would do, too"
    return f"{worth}: {int8.name} loses {int8.lost}, {best.name} {best.lost}"


def _how(recipe: Recipe) -> str:
    if isinstance(recipe.model, SavedModel):
        return "give the model as a .keras or .h5 file, training with techniques: [quantize], and qat_int8 in variants"
    return "give training with techniques: [quantize], and qat_int8 in variants"
