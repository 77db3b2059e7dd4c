"""Which rows trials are decided on, and which others confirm what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from tflq.calibrate import Calibration
from tflq.datasets import select
from tflq.errors import DatasetError, RecipeError
from tflq.evaluate import Evaluation
from tflq.recipe import Recipe
from tflq.worker import ProgressCallback

MIN_ROWS = 4
"""Rows that each set must have."""
MAX_HOLDOUT_ROWS = 3
"""One of so many calibration samples is held back where there are no other rows."""


@dataclass(frozen=True)
class Splits:
    """Two sets of rows that have none in common, of the dataset that the recipe is measured on."""

    selection: tuple[int, ...]
    confirmation: tuple[int, ...]
    calibration_samples: int | None
    """How many to calibrate with from now on, where some were held back."""
    said: str
    """What was used, for people."""


def choose_splits(_: ProgressCallback, recipe: Recipe, most: int) -> Splits:
    """Decide on at most so many rows; DatasetError where there are too few."""
    splits = _of_evaluation(recipe, most) if recipe.evaluation else _of_calibration(recipe, most)
    if min(len(splits.selection), len(splits.confirmation)) < MIN_ROWS:
        raise DatasetError(
            f"{recipe.measured_on.dataset}: has too few rows: trials are decided on some and confirmed on others, each"
            f" {MIN_ROWS} or more; give evaluation with a larger dataset"
        )
    return splits


def _of_evaluation(recipe: Recipe, most: int) -> Splits:
    """Those that the recipe is measured on confirm, if the dataset has enough others to decide on."""
    given = recipe.measured_on
    chosen = select(given.dataset, given.samples, given.seed)
    if chosen.total is None:
        return _halves(islice(chosen.indices, 2 * most), most, f"rows of {given.dataset}")
    familiar, what = _calibrated_with(recipe, given), f"evaluation rows of {given.dataset}"
    if chosen.total - len(familiar) < 2 * MIN_ROWS:
        familiar, what = set(), f"{what}, which calibration has seen"
    measured = [index for index in chosen.indices if index not in familiar]
    others = sorted({*range(chosen.total)} - {*chosen.indices} - familiar)
    if len(others) < max(MIN_ROWS, min(most, len(measured) // 2)):
        return _halves(measured, most, what)
    selection = _some(others, min(most, len(others)), given.seed)
    said = f"decided on {len(selection)} rows of {given.dataset} that evaluation does not ask for, confirmed on"
    return Splits(selection, tuple(measured), None, f"{said} the {len(measured)} that it does")


def _calibrated_with(recipe: Recipe, given: Evaluation) -> set[int]:
    calibration = recipe.calibration
    if calibration is None or calibration.dataset != given.dataset:
        return set()
    return {*select(calibration.dataset, calibration.samples, calibration.seed).indices}


def _of_calibration(recipe: Recipe, most: int) -> Splits:
    """Rows that calibration does not ask for; where there are too few, some are held back from it."""
    given = recipe.calibration
    if given is None:
        raise RecipeError("trials need samples: give evaluation, or calibration, with a dataset")
    chosen = select(given.dataset, given.samples, given.seed)
    taken = len(chosen.indices)
    if chosen.total is None:
        rows = range(taken, taken + min(2 * most, taken))
        return _halves(rows, most, f"rows of {given.dataset} behind those that calibration takes")
    others = sorted({*range(chosen.total)} - {*chosen.indices})
    if len(others) >= max(2 * MIN_ROWS, min(2 * most, taken // MAX_HOLDOUT_ROWS)):
        spare = _some(others, min(2 * most, len(others)), given.seed)
        return _halves(spare, most, f"rows of {given.dataset} that calibration does not ask for")
    return _held_back(given, most, chosen.total)


def _held_back(given: Calibration, most: int, total: int) -> Splits:
    kept = total - min(2 * most, max(2 * MIN_ROWS, total // MAX_HOLDOUT_ROWS))
    if kept < 1:
        return Splits((), (), None, "")
    used = {*select(given.dataset, kept, given.seed).indices}
    rows = [index for index in range(total) if index not in used]
    splits = _halves(rows, most, f"rows of {given.dataset} held back from calibration, which has {kept} now")
    return replace(splits, calibration_samples=kept)


def _halves(rows: Iterable[int], most: int, what: str) -> Splits:
    """Every second row decides; neighbours are often alike."""
    listed = tuple(rows)
    selection, confirmation = listed[::2][:most], listed[1::2]
    return Splits(
        selection, confirmation, None, f"decided on {len(selection)} {what}, confirmed on {len(confirmation)} others"
    )


def _some(rows: Sequence[int], count: int, seed: int | str) -> tuple[int, ...]:
    if isinstance(seed, str):
        return tuple(rows[:count])
    chosen = np.random.Generator(np.random.PCG64(seed)).choice(len(rows), count, replace=False)
    return tuple(rows[place] for place in sorted(chosen.tolist()))
