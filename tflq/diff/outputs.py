"""Outputs and metric of two files on the data of a recipe, sample by sample, with the first file as the baseline."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tflq import flatbuffer, scores, stages, verify
from tflq.cost_model import int16_multiply_adds
from tflq.diff.gates import DiffGates
from tflq.errors import DatasetError, EvaluationError, TflqError
from tflq.evaluate.plan import EvaluationPlan, EvaluationRows, evaluation_rows
from tflq.evaluate.record import Record
from tflq.evaluate.recorded import FLOAT32
from tflq.leftovers import run_folder
from tflq.pipeline import Settings
from tflq.recipe import Recipe, check_source
from tflq.result import FileFigures
from tflq.stages import ConvertibleSource, RecipeCache, RunContext
from tflq.stages.measurement_budget import budget_of
from tflq.stages.measurement_rounds import PlanBudget, measure_rounds
from tflq.worker import Failed, Task, Workers, preload_tensorflow

AFTER = "the second file"

FilePair = tuple[Path, Path]


@dataclass(frozen=True)
class OutputsDiff:
    """The outputs of the second file, compared with those of the first file on the same samples."""

    dataset: str
    metric_before: float | None
    """The metric of the first file; None without a metric."""
    figures: FileFigures
    """The figures of the second file. Its drop and its fidelity are against the first file."""
    not_finite_before: int
    """The number of samples for which the first file outputs NaN or infinity."""
    not_finite_after: int

    @property
    def are_equal(self) -> bool:
        """Whether all outputs are equal on all samples."""
        return all(output.sqnr_db is None for output in self.figures.fidelity.values())


def compare_outputs(
    recipe: Recipe, pairs: Mapping[str, FilePair], gates: DiffGates, settings: Settings
) -> dict[str, OutputsDiff | TflqError]:
    """Run both files of each pair on the evaluation samples of the recipe, in worker processes.

    The values are by the names of the pairs; a pair that cannot be run has its error. Raises RecipeError, SourceError
    or DatasetError if there are no samples for any pair.
    """
    check_source(recipe)
    preload_tensorflow()
    with run_folder() as work, _log() as log:
        with (
            Workers(log.path, settings.timeout, settings.listen, settings.budget) as workers,
            RecipeCache(recipe, settings.store if recipe.keeps else None) as recipe_cache,
        ):
            context = RunContext(recipe, Path(work), workers, settings.jobs, recipe_cache)
            source = stages.prepare_source(context)
            arguments = (recipe.measured_on, recipe.inputs, source.prepared)
            task = Task("open the evaluation data", evaluation_rows, arguments, DatasetError)
            rows = workers.run(task).value
            found = {name: _pair(context, source, rows, pair, gates) for name, pair in pairs.items()}
        log.is_needed = any(isinstance(outputs, TflqError) for outputs in found.values())
        return found


@dataclass
class _Log:
    """The log of the workers, a new temporary file. Messages of failed tasks name it, so that it is kept for them."""

    path: Path
    is_needed: bool = True


@contextmanager
def _log() -> Iterator[_Log]:
    descriptor, name = tempfile.mkstemp(prefix="tflq-diff-", suffix=".log")
    os.close(descriptor)
    log = _Log(Path(name))
    try:
        yield log
    finally:
        if not log.is_needed:
            log.path.unlink(missing_ok=True)


def _pair(
    context: RunContext, source: ConvertibleSource, rows: EvaluationRows, pair: FilePair, gates: DiffGates
) -> OutputsDiff | TflqError:
    tasks = [Task(f"run {path} once", verify.smoke_test, (path, rows.arrays, False), EvaluationError) for path in pair]
    failed = [outcome.error for outcome in context.workers.run_all(tasks, context.jobs) if isinstance(outcome, Failed)]
    if failed:
        return failed[0]
    plan = EvaluationPlan(
        evaluation=context.recipe.measured_on,
        inputs=context.recipe.inputs,
        source=source.prepared,
        float32=pair[0],
        first=rows.arrays,
        files={AFTER: pair[1]},
    )
    slow_work = sum(int16_multiply_adds(flatbuffer.load(path)) for path in pair) // (source.prepared.batch or 1)
    budget = replace(budget_of(context.recipe, rows), gates=gates)
    stage = f"compare {pair[1].name}"
    records = measure_rounds(context, budget, {stage: PlanBudget(plan, {AFTER: budget.most(slow_work)})})[stage]
    return records if isinstance(records, TflqError) else _outputs(context.recipe, records, gates)


def _outputs(recipe: Recipe, records: Mapping[str, Record], gates: DiffGates) -> OutputsDiff:
    before, after = records[FLOAT32], records[AFTER]
    scoring = recipe.measured_on.scoring
    score = scores.score(scoring, before, after, gates.max_metric_drop) if scoring else None
    return OutputsDiff(
        dataset=str(recipe.measured_on.dataset),
        metric_before=scores.metric_value(scoring, before),
        figures=FileFigures(len(after.is_finite), score, scores.outputs(after), None),
        not_finite_before=int((~before.is_finite).sum()),
        not_finite_after=int((~after.is_finite).sum()),
    )
