"""The search space: the variants to begin with, and the options that may change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tflq.calibrate.schema import Method, Percentile
from tflq.errors import RecipeError
from tflq.modes import CALIBRATED, WITH_INT16_OPS, Mode, ModeName, named
from tflq.recipe import Recipe
from tflq.refine import BY_KEY
from tflq.search.options import DEFAULT, SEARCHED, STRICT, Goal
from tflq.search_section import OpKey
from tflq.strict import did_you_mean
from tflq.trials import Trial

PERCENTILES = tuple(Percentile(percentile=percent) for percent in (99.999, 99.99, 99.9))
METHODS: dict[int, tuple[Method, ...]] = {8: ("minmax", "mse", *PERCENTILES), 16: ("minmax", "mse")}
"""Methods for the ranges, by the bits of activations. With 16 bits, rare values do not need to be clipped."""
OP_KEYS: tuple[OpKey, ...] = ("keep_float", "keep_int16")
TOGGLES: dict[str, tuple[object, ...]] = {
    **{key: correction.searched_values for key, correction in BY_KEY.items()},
    "per_channel": (True, False),
    "per_channel_dense": (True, False),
}
"""The options that a search changes, with their values."""
KEYS = ("ranges", *TOGGLES, *OP_KEYS)
"""The keys that a search may change, and that --fixed may name."""


@dataclass(frozen=True)
class SearchRequest:
    """The options of a search. The constraints are the recipe's gates."""

    goal: Goal = "size"
    variant: str | None = None
    """Search within this variant of the recipe."""
    modes: tuple[str, ...] = ()
    """Search within these modes. Default: all that are not strict, or only the strict ones if all integer variants are
    strict. For targets, both are tried."""
    fixed: frozenset[str] = frozenset()
    """Keys that stay as the recipe has them."""


@dataclass(frozen=True)
class Change:
    """One difference between a trial and the recipe, and the trial without it."""

    key: str
    op: int | None
    """The number of the op, if the key is keep_float or keep_int16."""
    without: Trial


@dataclass(frozen=True)
class Space:
    """The variants to begin with, and the ways to change them."""

    families: tuple[Mode, ...]
    """Variants with integer activations, the smallest and fastest first."""
    free: tuple[Mode, ...]
    """Variants without ranges, which are tried first."""
    ranges: Method
    """The method that the recipe asks for."""
    methods: dict[int, tuple[Method, ...]]
    fixed: frozenset[str]
    allowed: tuple[OpKey, ...] = ("keep_float",)
    """The keys that may name ops."""

    def plain_trial(self, variant: Mode) -> Trial:
        """Return the trial of the variant with the ranges that the recipe asks for."""
        return Trial(variant, self.ranges)

    def trials_by_method(self, family: Mode) -> list[Trial]:
        """Return one trial for each method of ranges, the recipe's method first."""
        return [Trial(family, method) for method in self.methods[family.activation_bits]]

    def toggle(self, trial: Trial, key: str) -> list[Trial]:
        """Return the trial with each other value of that option."""
        is_idle = key == "per_channel_dense" and not trial.variant.per_channel
        if key == "headroom":  # int16 has enough, and percentiles clip values at both ends
            is_idle = trial.variant.activation_bits == 16 or isinstance(trial.ranges, Percentile)
        values = () if key in self.fixed or is_idle else TOGGLES[key]
        current = getattr(trial.variant, key)
        return [with_option(trial, key, value) for value in values if value != current]

    def combine(self, trial: Trial, toggled: Sequence[Trial]) -> Trial:
        """Return the trial with the changes of all toggled trials. If two contradict, the first one counts."""
        joined, base = trial, trial.variant
        for key in TOGGLES:
            values = [value for other in toggled if (value := getattr(other.variant, key)) != getattr(base, key)]
            if values and (changed := with_option(joined, key, values[0])) in self.toggle(joined, key):
                joined = changed
        return joined

    def op_keys(self, family: Mode) -> tuple[OpKey, ...]:
        """Return the keys that may name ops. A strict mode has no ops in float, and only 8 bits can become 16."""
        possible = {"keep_float": not family.is_strict, "keep_int16": family.mode in WITH_INT16_OPS}
        return tuple(key for key in self.allowed if possible[key] and key not in self.fixed)

    def recipe_trial(self, trial: Trial) -> Trial:
        """Return what the recipe asks for in the mode of the trial."""
        (family,) = [variant for variant in (*self.families, *self.free) if variant.mode == trial.variant.mode]
        return self.plain_trial(family)

    def changes(self, trial: Trial) -> list[Change]:
        """Return all differences between the trial and the recipe."""
        return list(self._changes(trial, self.recipe_trial(trial)))

    def _changes(self, trial: Trial, recipe_trial: Trial) -> Iterator[Change]:
        if trial.variant.needs_ranges and trial.ranges != recipe_trial.ranges:
            yield Change("ranges", None, replace(trial, ranges=recipe_trial.ranges))
        for key in TOGGLES:
            value = getattr(recipe_trial.variant, key)
            if getattr(trial.variant, key) != value:
                yield Change(key, None, with_option(trial, key, value))
        for op_key in OP_KEYS:
            named = named_by_search(trial, recipe_trial, op_key)
            for op in named:
                others = [other for other in named if other != op]
                yield Change(op_key, op, with_ops(trial, recipe_trial, op_key, others))


def with_option(trial: Trial, key: str, value: object) -> Trial:
    """Return the trial with another value of that option."""
    return replace(trial, variant=trial.variant.model_copy(update={key: value}))


def with_ops(trial: Trial, recipe_trial: Trial, key: OpKey, ops: Sequence[int]) -> Trial:
    """Return the trial with those ops under that key, by number, in addition to those of the recipe."""
    added = (f"#{op}" for op in sorted(ops))
    return with_option(trial, key, (*getattr(recipe_trial.variant, key), *added))


def named_by_search(trial: Trial, recipe_trial: Trial, key: OpKey) -> list[int]:
    """Return the numbers of the ops that the trial names under that key and the recipe does not."""
    return [int(name[1:]) for name in getattr(trial.variant, key)[len(getattr(recipe_trial.variant, key)) :]]


def all_named_by_search(trial: Trial, recipe_trial: Trial) -> list[int]:
    """Return the numbers of the ops that the trial names under any key and the recipe does not."""
    return sorted(op for key in OP_KEYS for op in named_by_search(trial, recipe_trial, key))


def space(recipe: Recipe, request: SearchRequest, is_observed: bool) -> Space:
    """Return the search space of the recipe. Raise RecipeError if `request` names a variant that does not exist.

    `is_observed`: whether methods other than minmax are possible.
    """
    assert recipe.calibration is not None
    variants = _variants(recipe, request)
    own = recipe.calibration.method
    methods = {bits: (own, *(other for other in others if other != own)) for bits, others in METHODS.items()}
    if "ranges" in request.fixed or not is_observed:
        methods = dict.fromkeys(METHODS, (own,))
    families = tuple(variant for variant in variants if variant.needs_ranges)
    free = tuple(variant for variant in variants if not variant.needs_ranges)
    return Space(families, free, own, methods, request.fixed, _by_cost(recipe.search.allow, request.goal))


def _by_cost(allowed: Sequence[OpKey], goal: Goal) -> tuple[OpKey, ...]:
    """Return the keys, the cheaper first. An op in 16 bits is smaller than one in float, but slower on a CPU."""
    ordered: tuple[OpKey, ...] = ("keep_float", "keep_int16") if goal == "latency" else ("keep_int16", "keep_float")
    return tuple(key for key in ordered if key in allowed)


def _variants(recipe: Recipe, request: SearchRequest) -> list[Mode]:
    candidates = [variant for variant in recipe.variants if not variant.trained and variant.mode in SEARCHED]
    if request.variant is not None:
        names = [variant.name for variant in candidates]
        if request.variant not in names:
            hint = did_you_mean(request.variant, names)
            raise RecipeError(
                f"--variant {request.variant}: no variant to search has this name{hint}; there are {_listed(names)}"
            )
        return [variant for variant in candidates if variant.name == request.variant]
    modes = request.modes or _default_modes(candidates, is_for_targets=bool(recipe.gates.runs_whole_on))
    ordered = [mode for mode in SEARCHED if mode in modes]
    return [
        next((variant for variant in candidates if variant.mode == mode), _default(mode, recipe)) for mode in ordered
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or f"none: use --modes with one of {', '.join(SEARCHED)}"


def _default_modes(variants: Sequence[Mode], *, is_for_targets: bool) -> tuple[ModeName, ...]:
    """Return the modes to search in. Many targets have integers only, so that strict modes are tried for them, too."""
    integer = [variant for variant in variants if variant.mode in CALIBRATED]
    if integer and all(variant.is_strict for variant in integer):
        return STRICT
    return (*DEFAULT, *STRICT) if is_for_targets else DEFAULT


def _default(mode: ModeName, recipe: Recipe) -> Mode:
    return named(mode).with_defaults(recipe.converter)
