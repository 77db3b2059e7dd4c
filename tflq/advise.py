"""Recommend a variant to ship, from the measurements of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tflq import cache
from tflq.datasets import Random
from tflq.errors import RecipeError
from tflq.measured_variant import RUNS_WHOLE, MeasuredVariant, fast_enough, measurements, slower
from tflq.modes import CALIBRATED, GUIDE, QAT_MODES, ModeGuide, ModeName
from tflq.recipe import Recipe, dump
from tflq.sources.keras_file import Keras

Device = Literal["cpu", "gpu", "integer"]
TOLERATED = 0.01
"""The default largest drop of the metric, if the recipe has no gate for it."""
SAME_SIZE_RATIO = 1.05
"""Files whose sizes differ by a smaller ratio count as equal in size."""
REPORT = "report.json"
SEARCH = "tflq search RECIPE"
"""The command in advice that does not know the path of the recipe."""


@dataclass(frozen=True)
class MeasuredRun:
    """The measurements of a run of the recipe."""

    metric: str
    """The quantity that a loss is measured in."""
    variants: tuple[MeasuredVariant, ...]
    is_stale: bool
    """Whether the recipe was changed since the run."""


@dataclass(frozen=True)
class Advice:
    """The recommended variant, the reason, and whether training is worth it."""

    variant: str
    """The name of the recommended variant."""
    passed: bool
    """Whether it passes every gate and loses no more than is tolerated."""
    recommended: str
    """The name of the variant, and the path of its file."""
    reason: str
    training: str


def read(recipe: Recipe) -> MeasuredRun:
    """Read the report in the recipe's output folder. Raise RecipeError if there is none, or no loss was measured."""
    cache.clear_workspaces(recipe.output)
    path = recipe.output / REPORT
    remedy = f"run tflq convert with this recipe first, which writes {path}"
    if not path.is_file():
        raise RecipeError(f"{recipe.name}: nothing has been measured yet: {remedy}")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        variants = _all_measurements(plain)
        text = hashlib.sha256(dump(recipe, recipe.output).encode()).hexdigest()
        is_stale = bool(plain["recipe_sha256"] != text)
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: this is not a report of this version of tflq: {remedy}") from error
    return _measured_run(recipe, variants, is_stale)


def measured_run(recipe: Recipe, report: dict[str, Any]) -> MeasuredRun:
    """Return the measurements in the content of report.json. Raise RecipeError if no loss was measured."""
    return _measured_run(recipe, _all_measurements(report), is_stale=False)


def _all_measurements(report: dict[str, Any]) -> tuple[MeasuredVariant, ...]:
    return tuple(measurements(variant) for variant in report["variants"] if variant["file"] and variant["mode"])


def _measured_run(recipe: Recipe, variants: tuple[MeasuredVariant, ...], is_stale: bool) -> MeasuredRun:
    if isinstance(recipe.measured_on.dataset, Random):
        raise RecipeError(
            f"{recipe.name}: was measured on random numbers, which say nothing about accuracy: give evaluation with a"
            " dataset of your own, a label and a metric, and run tflq convert"
        )
    if not any(variant.loss is not None for variant in variants):
        raise RecipeError(
            f"{recipe.name}: no loss has been measured: give evaluation.label and evaluation.metric, and run tflq"
            " convert"
        )
    metric = recipe.measured_on.scoring
    return MeasuredRun(metric.name if metric else "agreement with the float32 file", variants, is_stale)


def advise(recipe: Recipe, measured: MeasuredRun, target: str, tolerated: float, search: str = SEARCH) -> Advice:
    """Recommend the smallest variant that runs on the target and loses at most `tolerated`.

    `target` is a kind of device, or a target of the recipe. `search` is the command that searches this
    recipe. If no variant passes, recommend the one with the smallest loss. Raise RecipeError if none suits the target.
    """
    variants = [
        variant
        for variant in measured.variants
        if _runs_on(variant, target) and variant.status in ("ok", "poor", "failed")
    ]
    losses = [(variant.loss, variant) for variant in variants if variant.loss is not None]
    if not losses:
        raise RecipeError(f"{recipe.name}: {_none_runs(measured, target)}")
    passed = [variant for loss, variant in losses if loss <= tolerated and variant.has_passed]
    metric = measured.metric
    fast = fast_enough(passed) if target == "cpu" else passed
    chosen = _smallest(fast) if fast else min(losses, key=lambda pair: pair[0])[1]
    return Advice(
        chosen.name,
        bool(passed),
        f"{chosen.name}: {recipe.output / f'{recipe.name}-{chosen.name}.tflite'}",
        _reason(
            chosen,
            fast,
            [variant for _, variant in losses if variant in fast or variant not in passed],
            f"{WORDS.get(target, target)}, at a loss of at most {tolerated:g} in {metric}",
        )
        + _on_target(chosen, target)
        + (slower(chosen, passed) if target == "cpu" else "")
        + _untried(recipe, measured, target, passed),
        _training(recipe, measured, tolerated, chosen, search),
    )


@dataclass(frozen=True)
class ModeRow:
    """The guide to the files of a mode, and the figures that were measured of them."""

    guide: ModeGuide
    measured: tuple[str, ...]
    """The figures of each variant of the mode, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return asdict(self.guide) | {"measured": list(self.measured)}


def mode_rows(variants: Sequence[MeasuredVariant] = ()) -> tuple[ModeRow, ...]:
    """Return the table of all modes, with the figures of these variants."""
    return tuple(
        ModeRow(guide, tuple(f"{each.name}: {_figures(each)}" for each in variants if each.mode == guide.mode))
        for guide in GUIDE
    )


def _figures(variant: MeasuredVariant) -> str:
    loss = "" if variant.loss is None else f", loses {variant.loss_in_words}"
    return f"{variant.size_bytes:,} bytes{_time(variant)}{loss}"


def _time(variant: MeasuredVariant) -> str:
    return "" if variant.milliseconds is None else f", {variant.milliseconds:.3g} ms"


SMALLER: dict[str, tuple[ModeName, ...]] = {
    "cpu": ("int8", "dynamic", "weights8", "int16x8", "float16"),
    "gpu": ("float16",),
    "integer": ("int8_only", "int16x8_only"),
}
"""The modes to try before training, by target."""
WORDS: dict[str, str] = {"cpu": "a CPU", "gpu": "a GPU", "integer": "integer-only hardware"}


_MODES: dict[str, Sequence[str]] = {
    "cpu": ("dynamic", "weights8", "dynamic4", "int8"),
    "gpu": ("float16", "float32"),
    "integer": ("int8_only", "int16x8_only", "qat_int8_only"),
}


def _runs_on(variant: MeasuredVariant, target: str) -> bool:
    """Return whether the variant runs on the kind of device, or whole on the target of the recipe."""
    if target not in WORDS:
        return variant.verdicts.get(target, "").startswith(RUNS_WHOLE)
    return target == "cpu" or variant.mode in _MODES[target]


def _none_runs(measured: MeasuredRun, target: str) -> str:
    """Return why no variant can be recommended for the target."""
    if target in WORDS:
        names = ", ".join(dict.fromkeys(_MODES[target]))
        return f"no variant that runs on {WORDS[target]} was measured: add one of {names}"
    told = [f"{each.name} {each.verdicts[target]}" for each in measured.variants if target in each.verdicts]
    if not told:
        return f"the report does not say what runs on {target}: add it to targets, and run tflq convert"
    return f"no variant runs whole on {target}: {'; '.join(told)}"


def _on_target(chosen: MeasuredVariant, target: str) -> str:
    """Return what is known of the variant on the target, or else on each target of the recipe."""
    verdicts = chosen.verdicts if target in WORDS else {target: chosen.verdicts[target]}
    return "".join(f"; on {name} it {verdict}" for name, verdict in verdicts.items())


def _smallest(variants: Sequence[MeasuredVariant]) -> MeasuredVariant:
    """Return the variant with the smallest loss among those about as small as the smallest; of equals the smallest."""
    smallest = min(variant.size_bytes for variant in variants)
    similar = [variant for variant in variants if variant.size_bytes <= SAME_SIZE_RATIO * smallest]
    return min(similar, key=lambda variant: (variant.loss or 0.0, variant.size_bytes))


def _reason(
    chosen: MeasuredVariant, passed: Sequence[MeasuredVariant], variants: Sequence[MeasuredVariant], request: str
) -> str:
    figures = _figures(chosen)
    if not passed:
        return f"for {request}, no variant passes every gate; this one loses least ({figures})"
    smaller = [
        variant
        for variant in variants
        if variant.size_bytes < chosen.size_bytes / SAME_SIZE_RATIO and variant not in passed
    ]
    others = ", ".join(
        f"{variant.name} ({'fails a gate' if variant.status == 'failed' else variant.loss_in_words})"
        for variant in smaller
    )
    first, more = _rank_of_size(chosen, passed)
    return f"{first} for {request} ({figures}){more}" + (f"; smaller, but rejected: {others}" if others else "")


def _rank_of_size(chosen: MeasuredVariant, passed: Sequence[MeasuredVariant]) -> tuple[str, str]:
    """Compare the size of the chosen variant with the others that passed, and name a smaller one."""
    smallest = min(passed, key=lambda variant: variant.size_bytes)
    if len(passed) == 1:
        return "the only one", ""
    if chosen.size_bytes == smallest.size_bytes:
        return f"the smallest of {len(passed)} that pass", ""
    saving = 1 - smallest.size_bytes / chosen.size_bytes
    size = f"{saving:.1%} smaller ({smallest.size_bytes:,} bytes)"
    smaller = f"; {smallest.name} is only {size} and loses {smallest.loss_in_words}"
    return f"one of the smallest of {len(passed)} that pass", smaller


def _untried(recipe: Recipe, measured: MeasuredRun, target: str, passed: Sequence[MeasuredVariant]) -> str:
    """Name modes that need no training and were not tried, if only float32 passed."""
    if any(variant.mode != "float32" for variant in passed):
        return ""
    measured_modes = {variant.mode for variant in measured.variants}
    modes = [mode for mode in SMALLER.get(target, SMALLER["integer"]) if mode not in measured_modes]
    if recipe.calibration is None:
        modes = [mode for mode in modes if mode not in CALIBRATED]
    return f"; not tried yet: {', '.join(modes)}" if modes else ""


def _training(recipe: Recipe, measured: MeasuredRun, tolerated: float, chosen: MeasuredVariant, search: str) -> str:
    """Say whether training is worth it. It is if post-training int8 loses too much."""
    plain = [
        variant for variant in measured.variants if variant.mode in ("int8", "int8_only") and not variant.is_trained
    ]
    losses = [(variant.loss, variant) for variant in plain if variant.loss is not None]
    trained = [
        (variant.loss, variant)
        for variant in measured.variants
        if variant.mode in QAT_MODES and variant.loss is not None
    ]
    if not losses:
        data = "" if recipe.calibration else ", with calibration data"
        return f"not known until int8 is measured: add int8 to variants{data}"
    loss, int8 = min(losses, key=lambda pair: pair[0])
    if loss <= tolerated:
        worth = "not needed" if chosen.is_trained else "not worth it"
        return f"{worth}: without training, {int8.name} loses {int8.loss_in_words}"
    if int8.mend:
        return f"not before this is mended: in {int8.name}, {int8.mend}"
    if not trained:
        limit = f"--max-drop {tolerated:g}" if int8.is_scored else f"--min-agreement {1 - tolerated:g}"
        return (
            f"try `{search} {limit}` first, which needs no training: {int8.name} loses {int8.loss_in_words}."
            f" If that finds nothing as small, {_how(recipe)}"
        )
    least, best = min(trained, key=lambda pair: pair[0])
    if least > tolerated:
        return (
            f"helped too little: {int8.name} loses {int8.loss_in_words}, {best.name} {best.loss_in_words};"
            " try more epochs, another learning_rate, or skip_layers for the most sensitive layers"
        )
    worth = "was worth it" if chosen.is_trained else "also possible"
    return f"{worth}: {int8.name} loses {int8.loss_in_words}, {best.name} {best.loss_in_words}"


def _how(recipe: Recipe) -> str:
    if not isinstance(recipe.model, Keras):
        return "give the model as a .keras or .h5 file, training with techniques: [quantize], and qat_int8 in variants"
    return "give training with techniques: [quantize], and qat_int8 in variants"
