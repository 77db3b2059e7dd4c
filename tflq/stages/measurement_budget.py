"""The number of samples that each file is measured on, and their order.

Without a metric, measuring a file stops when its figures are precise. The number depends on the recipe, the file and
its outputs, never on the time that a call takes, so that the same recipe gives the same report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflq.evaluate.plan import EvaluationRows
from tflq.evaluate.record import Record
from tflq.gates import FileGates
from tflq.metrics.estimate import Estimate, estimate_agreement, estimate_sqnr_db
from tflq.recipe import Recipe

MIN_SAMPLES = 20
"""The least number of samples of each file, if there are as many."""
MAX_SAMPLES = 400
"""The largest number of samples of a file if the recipe has no evaluation."""
SQNR_REACH_DB, AGREEMENT_REACH = 0.5, 0.02
"""Half the width of the 95 % interval at which a figure is precise."""
MAX_INT16_MULTIPLY_ADDS = 2e9
"""The largest number of multiply-adds in int16 ops over all samples of a file.

Most of LiteRT's int16 kernels use no vector instructions, so each sample takes long.
"""
MIN_GROWTH, MAX_GROWTH = 1.25, 8
"""The least and the largest factor from one round to the next."""
MARGIN = 1.1
"""The factor by which a round exceeds the estimated need."""


@dataclass(frozen=True)
class MeasurementBudget:
    """The rules for how many samples a file is measured on."""

    order: Sequence[int]
    """The rows in the order of measuring. All files are measured on the first ones."""
    measures_all: bool
    """Whether every file is measured on all rows."""
    limit: int
    """The largest number of samples of any file."""
    gates: FileGates

    def most(self, int16_multiply_adds: int) -> int:
        """Return the largest number of samples of a file with so many int16 multiply-adds for each sample."""
        if self.measures_all or not int16_multiply_adds:
            return self.limit
        affordable = int(MAX_INT16_MULTIPLY_ADDS / int16_multiply_adds)
        return min(self.limit, max(MIN_SAMPLES, affordable))

    def first(self, most: int) -> int:
        """Return the number of samples after the first round; all if a second round would be no larger than it."""
        return most if self.measures_all or most <= 2 * MIN_SAMPLES else MIN_SAMPLES

    def next(self, record: Record, most: int) -> int:
        """Return the number of samples after the next round. It is that of the record if no more are needed."""
        count = len(record.is_finite)
        needed = self._samples_needed(record)
        if count >= most or needed <= count:
            return count
        return min(most, math.ceil(min(max(MARGIN * needed, MIN_GROWTH * count), MAX_GROWTH * count)))

    def _samples_needed(self, record: Record) -> float:
        """Return about how many samples make all figures precise. It is infinite while a gate is undecided."""
        needed = 0.0
        for name, rows in record.errors.items():
            sqnr_db = estimate_sqnr_db(rows)
            reach = (sqnr_db.high - sqnr_db.low) / 2
            needed = max(needed, _undecided(self.gates.min_sqnr_db, sqnr_db), _scaled(len(rows), reach, SQNR_REACH_DB))
            if name in record.agreement and rows[:, 1].sum() != 0:  # equal outputs have the same top class
                odds = record.agreement[name]
                undecided = _undecided(self.gates.min_agreement, estimate_agreement(odds))
                needed = max(needed, undecided, _samples_for_agreement(odds))
        return needed


def budget_of(recipe: Recipe, rows: EvaluationRows) -> MeasurementBudget:
    """Return the budget of the recipe.

    The order of measuring is random, with the seed of the rows. It is that of the rows if all are measured, or if the
    length of the dataset is unknown.
    """
    order, count = rows.indices, len(rows.indices)
    if recipe.measures_all:
        return MeasurementBudget(order, True, count, recipe.gates)
    if rows.total is not None:
        seed = recipe.measured_on.seed
        random = np.random.Generator(np.random.PCG64(0 if seed == "first" else seed))
        order = tuple(random.permutation(np.asarray(order)).tolist())
    limit = count if recipe.evaluation else min(count, MAX_SAMPLES)
    return MeasurementBudget(order, False, limit, recipe.gates)


def _undecided(limit: float | None, estimate: Estimate) -> float:
    """Return infinity if the interval includes the limit of a gate, else 0."""
    is_undecided = limit is not None and estimate.low < estimate.high and estimate.low <= limit <= estimate.high
    return math.inf if is_undecided else 0.0


def _scaled(count: int, reach: float, target: float) -> float:
    """Return the number of samples for which the reach shrinks to the target, or 0 if it is small enough."""
    return count * (reach / target) ** 2 if reach > target else 0.0


def _samples_for_agreement(odds: np.ndarray) -> float:
    """Return the least number of samples with a precise interval of the agreement, which `paired_drop` defines."""
    losses = 1 - odds
    counts = np.arange(1, 2 * math.ceil((1.96 / AGREEMENT_REACH) ** 2))
    mean, square = losses.mean() * counts / (counts + 2), (np.square(losses).mean() * counts + 2) / (counts + 2)
    reach = 1.96 * np.sqrt((square - np.square(mean)) / counts)
    return float(counts[np.argmax(reach <= AGREEMENT_REACH)])
