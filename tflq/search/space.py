"""What a search may vary, and what the recipe would have it be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tflq.calibrate import Method, Percentile
from tflq.errors import RecipeError
from tflq.modes import CALIBRATED, Mode, ModeName, named
from tflq.recipe import Recipe
from tflq.search.options import DEFAULT, SEARCHED, STRICT, Goal, Key
from tflq.strict import did_you_mean
from tflq.trials import Trial

PERCENTILES = tuple(Percentile(percentile=percent) for percent in (99.999, 99.99, 99.9))
METHODS: dict[int, tuple[Method, ...]] = {8: ("minmax", "mse", *PERCENTILES), 16: ("minmax", "mse")}
"""Of ranges, for activations of so many bits: 16 have room for rare values."""
OPTIONS: tuple[Key, ...] = (
    *("bias_correction", "rounding", "equalization", "headroom"),
    *("per_channel", "per_channel_dense"),
)
TOGGLES: dict[str, tuple[object, ...]] = {
    "bias_correction": ("on", "off"),
    "rounding": ("on", "off"),
    "equalization": ("on", "off"),
    "headroom": ("expected", 1.0),
    "per_channel": (True, False),
    "per_channel_dense": (True, False),
}


@dataclass(frozen=True)
class SearchRequest:
    """What the command line says of a search; the bars are the recipe's gates."""

    goal: Goal = "size"
    variant: str | None = None
    """Search within this variant of the recipe."""
    modes: tuple[str, ...] = ()
    """Search within these modes; by default all, or the strict ones where the recipe has integers throughout."""
    fixed: frozenset[str] = frozenset()
    """Keys that stay as the recipe has them."""


@dataclass(frozen=True)
class Change:
    """One way in which a trial differs from what the recipe asks for, and the trial without it."""

    key: Key
    op: int | None
    """Of keep_float the op's number."""
    without: Trial


@dataclass(frozen=True)
class Space:
    """The variants to begin with, and the ways to change them."""

    families: tuple[Mode, ...]
    """With integer activations, from the smallest and fastest."""
    last: tuple[Mode, ...]
    """Of what is left where no integers will do."""
    request: Method
    methods: dict[int, tuple[Method, ...]]
    fixed: frozenset[str]

    def plain(self, family: Mode) -> list[Trial]:
        """One for each method of ranges, the recipe's first."""
        return [Trial(family, method) for method in self.methods[family.activation_bits]]

    def toggled(self, trial: Trial, key: str) -> list[Trial]:
        """The trial with each other value of that option."""
        is_idle = key == "per_channel_dense" and not trial.variant.per_channel
        if key == "headroom":  # int16 has enough, and percentiles leave out values at both ends
            is_idle = trial.variant.activation_bits == 16 or isinstance(trial.ranges, Percentile)
        values = () if key in self.fixed or is_idle else TOGGLES[key]
        held = getattr(trial.variant, key)
        return [with_option(trial, key, value) for value in values if value != held]

    def together(self, trial: Trial, toggled: Sequence[Trial]) -> Trial:
        """The trial with what each of those has otherwise, the first before the others where they contradict."""
        joined, base = trial, trial.variant
        for key in TOGGLES:
            values = [value for one in toggled if (value := getattr(one.variant, key)) != getattr(base, key)]
            if values and (changed := with_option(joined, key, values[0])) in self.toggled(joined, key):
                joined = changed
        return joined

    def may_keep_float(self, family: Mode) -> bool:
        """A mode of integers throughout promises that nothing is in float."""
        return "keep_float" not in self.fixed and not family.is_strict

    def recipe_trial(self, trial: Trial) -> Trial:
        """What the recipe asks for in that mode."""
        (family,) = [one for one in (*self.families, *self.last) if one.mode == trial.variant.mode]
        return Trial(family, self.request)

    def changes(self, trial: Trial) -> list[Change]:
        """All that the trial has otherwise than the recipe asks for."""
        return list(self._changes(trial, self.recipe_trial(trial)))

    def _changes(self, trial: Trial, recipe_trial: Trial) -> Iterator[Change]:
        if trial.variant.needs_ranges and trial.ranges != recipe_trial.ranges:
            yield Change("ranges", None, replace(trial, ranges=recipe_trial.ranges))
        for key in OPTIONS:
            value = getattr(recipe_trial.variant, key)
            if getattr(trial.variant, key) != value:
                yield Change(key, None, with_option(trial, key, value))
        kept = kept_by_search(trial, recipe_trial)
        for op in kept:
            yield Change("keep_float", op, keeping(trial, recipe_trial, [other for other in kept if other != op]))


def with_option(trial: Trial, key: str, value: object) -> Trial:
    return replace(trial, variant=trial.variant.model_copy(update={key: value}))


def keeping(trial: Trial, recipe_trial: Trial, ops: Sequence[int]) -> Trial:
    """The trial with those ops in float, by their numbers, besides what the recipe keeps."""
    added = (f"#{op}" for op in sorted(ops))
    return with_option(trial, "keep_float", (*recipe_trial.variant.keep_float, *added))


def kept_by_search(trial: Trial, recipe_trial: Trial) -> list[int]:
    """The ops that the trial has in float and the recipe has not."""
    return [int(one[1:]) for one in trial.variant.keep_float[len(recipe_trial.variant.keep_float) :]]


def space(recipe: Recipe, request: SearchRequest, is_observed: bool) -> Space:
    """RecipeError where what is asked for is not there; `is_observed`: whether other methods than minmax can be had."""
    assert recipe.calibration is not None
    variants = _variants(recipe, request)
    own = recipe.calibration.method
    methods = {bits: (own, *(one for one in some if one != own)) for bits, some in METHODS.items()}
    if "ranges" in request.fixed or not is_observed:
        methods = dict.fromkeys(METHODS, (own,))
    families = tuple(one for one in variants if one.needs_ranges)
    last = tuple(_as_it_comes(one) for one in variants if not one.needs_ranges)
    return Space(families, last, own, methods, request.fixed)


def _as_it_comes(variant: Mode) -> Mode:
    """Without what samples could mend in its file, which trials do not do, so that the find is what was tried."""
    return variant.model_copy(update={"bias_correction": "off"}) if variant.reads_samples else variant


def _variants(recipe: Recipe, request: SearchRequest) -> list[Mode]:
    given = [one for one in recipe.variants if not one.trained and one.mode in SEARCHED]
    if request.variant is not None:
        names = [one.name for one in given]
        if request.variant not in names:
            hint = did_you_mean(request.variant, names)
            raise RecipeError(
                f"--variant {request.variant}: no variant to search within{hint}; there are {_listed(names)}"
            )
        return [one for one in given if one.name == request.variant]
    modes = request.modes or _default_modes(given)
    ordered = [mode for mode in SEARCHED if mode in modes]
    return [next((one for one in given if one.mode == mode), _default(mode, recipe)) for mode in ordered]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or f"none: give one of the modes {', '.join(SEARCHED)}"


def _default_modes(given: Sequence[Mode]) -> tuple[ModeName, ...]:
    integer = [one for one in given if one.mode in CALIBRATED]
    return STRICT if integer and all(one.is_strict for one in integer) else DEFAULT


def _default(mode: ModeName, recipe: Recipe) -> Mode:
    return named(mode).with_defaults(recipe.converter)
