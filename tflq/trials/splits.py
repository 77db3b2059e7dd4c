"""Split rows in two: the selection rows, on which trials are compared, and the confirmation rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from tflq.calibrate.schema import Calibration
from tflq.datasets import select
from tflq.errors import DatasetError, RecipeError
from tflq.evaluate.section import Evaluation
from tflq.recipe import Recipe
from tflq.worker import ProgressCallback

MIN_ROWS = 4
"""The least number of rows in each split."""
HOLDOUT_DIVISOR = 3
"""If there are no other rows, one in this many calibration rows is held out."""


@dataclass(frozen=True)
class Splits:
    """Two disjoint sets of row indices of the dataset that the recipe is measured on."""

    selection: tuple[int, ...]
    confirmation: tuple[int, ...]
    calibration_samples: int | None
    """The reduced number of calibration samples; None if no calibration rows are held out."""
    description: str
    """A sentence that says which rows are used."""


def choose_splits(_: ProgressCallback, recipe: Recipe, most: int) -> Splits:
    """Choose at most `most` selection rows, and the confirmation rows. Raise DatasetError if there are too few."""
    splits = _of_evaluation(recipe, most) if recipe.evaluation else _of_calibration(recipe, most)
    if min(len(splits.selection), len(splits.confirmation)) < MIN_ROWS:
        raise DatasetError(
            f"{recipe.measured_on.dataset}: has too few rows for trials, which need {MIN_ROWS} or more to select on and"
            f" {MIN_ROWS} or more others to confirm on: give evaluation with a larger dataset"
        )
    return splits


def _of_evaluation(recipe: Recipe, most: int) -> Splits:
    """Confirm on the rows that the recipe is measured on, if the dataset has enough others to select on."""
    config = recipe.measured_on
    chosen = select(config.dataset, config.samples, config.seed)
    if chosen.total is None:
        return _halves(islice(chosen.indices, 2 * most), most, f"rows of {config.dataset}")
    calibrated, kind = _calibration_rows(recipe, config), f"evaluation rows of {config.dataset}"
    if chosen.total - len(calibrated) < 2 * MIN_ROWS:
        calibrated, kind = set(), f"{kind}, which calibration also uses"
    measured = [index for index in chosen.indices if index not in calibrated]
    others = sorted({*range(chosen.total)} - {*chosen.indices} - calibrated)
    if len(others) < max(MIN_ROWS, min(most, len(measured) // 2)):
        return _halves(measured, most, kind)
    selection = _sample(others, min(most, len(others)), config.seed)
    selected = f"trials are selected on {len(selection)} rows of {config.dataset} that evaluation does not use"
    return Splits(selection, tuple(measured), None, f"{selected} and confirmed on the {len(measured)} that it uses")


def _calibration_rows(recipe: Recipe, config: Evaluation) -> set[int]:
    calibration = recipe.calibration
    if calibration is None or calibration.dataset != config.dataset:
        return set()
    return {*select(calibration.dataset, calibration.samples, calibration.seed).indices}


def _of_calibration(recipe: Recipe, most: int) -> Splits:
    """Use rows that calibration does not use. If there are too few, hold some calibration rows out."""
    config = recipe.calibration
    if config is None:
        raise RecipeError("trials need samples: give evaluation, or calibration, with a dataset")
    chosen = select(config.dataset, config.samples, config.seed)
    calibrated = len(chosen.indices)
    if chosen.total is None:
        rows = range(calibrated, calibrated + min(2 * most, calibrated))
        return _halves(rows, most, f"rows of {config.dataset} after those that calibration uses")
    others = sorted({*range(chosen.total)} - {*chosen.indices})
    if len(others) >= max(2 * MIN_ROWS, min(2 * most, calibrated // HOLDOUT_DIVISOR)):
        spare = _sample(others, min(2 * most, len(others)), config.seed)
        return _halves(spare, most, f"rows of {config.dataset} that calibration does not use")
    return _hold_out(config, most, chosen.total)


def _hold_out(config: Calibration, most: int, total: int) -> Splits:
    remaining = total - min(2 * most, max(2 * MIN_ROWS, total // HOLDOUT_DIVISOR))
    if remaining < 1:
        return Splits((), (), None, "")
    used = {*select(config.dataset, remaining, config.seed).indices}
    rows = [index for index in range(total) if index not in used]
    splits = _halves(rows, most, f"rows of {config.dataset} held out from calibration, which keeps {remaining}")
    return replace(splits, calibration_samples=remaining)


def _halves(rows: Iterable[int], most: int, kind: str) -> Splits:
    """Select on every second row, since neighbouring rows are often alike."""
    listed = tuple(rows)
    selection, confirmation = listed[::2][:most], listed[1::2]
    selected = f"trials are selected on {len(selection)} {kind}"
    return Splits(selection, confirmation, None, f"{selected} and confirmed on {len(confirmation)} others")


def _sample(rows: Sequence[int], count: int, seed: int | str) -> tuple[int, ...]:
    if isinstance(seed, str):
        return tuple(rows[:count])
    chosen = np.random.Generator(np.random.PCG64(seed)).choice(len(rows), count, replace=False)
    return tuple(rows[place] for place in sorted(chosen.tolist()))
