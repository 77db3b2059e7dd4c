"""Measure files in rounds: each round adds samples to the files whose figures are not precise yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from tflq.errors import EvaluationError, TflqError
from tflq.evaluate import measuring
from tflq.evaluate.plan import EvaluationPlan
from tflq.evaluate.record import Record, merge
from tflq.evaluate.recorded import FLOAT32, SOURCE
from tflq.stages.context import RunContext
from tflq.stages.measurement_budget import MeasurementBudget
from tflq.worker import BackgroundTask, Done, Failed, Task, Workers

MIN_SAMPLES_PER_SOURCE_PROCESS = 64
"""The least number of samples for which another process loads the source."""

Records = dict[str, Record]
"""The record of each subject, in the order of measuring."""


@dataclass(frozen=True)
class PlanBudget:
    """A plan, and the largest number of samples of each of its subjects. The float32 file gets as many as needed."""

    plan: EvaluationPlan
    most: Mapping[str, int]


@dataclass(frozen=True)
class _Round:
    """One round of a plan."""

    stage: str
    plan: EvaluationPlan
    ranks: Mapping[str, range]
    """Subject → the places in the order of measuring that are added."""

    def rows(self, order: Sequence[int]) -> Sequence[int]:
        """Return the increasing indices of all rows of the round."""
        parts = set(self.ranks.values())
        if len(parts) == 1:
            (part,) = parts
            rows = order[part.start : part.stop]
            return rows if isinstance(rows, range) else sorted(rows)
        return sorted({row for part in parts for row in order[part.start : part.stop]})

    def with_rows(self, order: Sequence[int]) -> EvaluationPlan:
        """Return the plan in which each subject has only its rows."""
        if len(set(self.ranks.values())) == 1:
            return self.plan
        only = {name: frozenset(order[part.start : part.stop]) for name, part in self.ranks.items()}
        return replace(self.plan, only=only)


def measure_rounds(
    context: RunContext, budget: MeasurementBudget, plans: Mapping[str, PlanBudget]
) -> dict[str, Records | TflqError]:
    """Return for each stage the records of its plan's subjects, or the error of the first process that failed.

    The plans are measured at the same time. Each one is split over the workers, which does not change its records.
    """
    done: dict[str, Records | TflqError] = {stage: {} for stage in plans}
    limits = {stage: dict(each.most) for stage, each in plans.items()}
    rounds = [_first_round(budget, stage, each) for stage, each in plans.items()]
    while rounds:
        for each, added in zip(rounds, _run(context, budget.order, rounds), strict=True):
            earlier = done[each.stage]
            if isinstance(added, TflqError) or isinstance(earlier, TflqError):
                done[each.stage] = added
                continue
            done[each.stage] = records = _extended(earlier, added)
            limits[each.stage] |= {
                name: len(records[name].is_finite)  # the dataset has no more rows
                for name, part in each.ranks.items()
                if len(records[name].is_finite) < part.stop
            }
        rounds = [following for each in rounds for following in _next_round(budget, each, done, limits)]
    return done


@dataclass(frozen=True)
class BackgroundRound:
    """The only round of a plan, which runs in the background."""

    plan: EvaluationPlan
    order: Sequence[int]
    shards: Sequence[Sequence[int]]
    tasks: Sequence[BackgroundTask[Records]]

    def records(self, workers: Workers, jobs: int) -> Records | TflqError:
        """Return the record of each subject when the round has ended, or the error of the first process that failed."""
        return _merged(self.plan, self.shards, workers.results(self.tasks, jobs), _rank_in(self.order))


def begin_round(context: RunContext, budget: MeasurementBudget, stage: str, planned: PlanBudget) -> BackgroundRound:
    """Begin to measure a plan in the background, in one round. The stage is that of its tasks."""
    each = _first_round(budget, stage, planned)
    shards = _shards(each, budget.order, context.jobs)
    tasks = [context.workers.run_in_background(task) for task in _tasks(each, budget.order, shards)]
    return BackgroundRound(each.with_rows(budget.order), budget.order, shards, tasks)


def _first_round(budget: MeasurementBudget, stage: str, each: PlanBudget) -> _Round:
    ranks = {name: range(budget.first(most)) for name, most in each.most.items()}
    longest = max(ranks.values(), key=len, default=range(budget.first(budget.limit)))
    return _Round(stage, each.plan, {FLOAT32: longest, **ranks})


def _next_round(
    budget: MeasurementBudget,
    last: _Round,
    done: Mapping[str, Records | TflqError],
    limits: Mapping[str, Mapping[str, int]],
) -> Iterator[_Round]:
    """Yield the next round of a plan, with the files that need more samples. There is none after an error."""
    records = done[last.stage]
    if isinstance(records, TflqError):
        return
    counts = {name: len(record.is_finite) for name, record in records.items()}
    ranks = {}
    for name in last.ranks:
        if name != FLOAT32 and (count := budget.next(records[name], limits[last.stage][name])) > counts[name]:
            ranks[name] = range(counts[name], count)
    if ranks:
        stop = max(part.stop for part in ranks.values())
        ranks[FLOAT32] = range(counts[FLOAT32], max(stop, counts[FLOAT32]))
        files = {name: path for name, path in last.plan.files.items() if name in ranks}
        yield _Round(last.stage, replace(last.plan, files=files, runs_source=SOURCE in ranks), ranks)


def _run(context: RunContext, order: Sequence[int], rounds: Sequence[_Round]) -> list[Records | TflqError]:
    """Run the rounds at the same time, and return what each one adds."""
    shards = [_shards(each, order, context.jobs) for each in rounds]
    tasks = [task for each, parts in zip(rounds, shards, strict=True) for task in _tasks(each, order, parts)]
    outcomes = iter(context.workers.run_all(tasks, context.jobs))
    rank = _rank_in(order)
    return [
        _merged(each.with_rows(order), parts, [next(outcomes) for _ in parts], rank)
        for each, parts in zip(rounds, shards, strict=True)
    ]


def _shards(each: _Round, order: Sequence[int], jobs: int) -> list[Sequence[int]]:
    """Return the rows of each worker; there are fewer workers for the source, which takes seconds to load."""
    rows = each.rows(order)
    loads_source = each.plan.runs_source and SOURCE not in each.plan.recorded
    useful = len(rows) // MIN_SAMPLES_PER_SOURCE_PROCESS if loads_source else len(rows)
    count = max(1, min(jobs, useful))
    return [rows[first::count] for first in range(count)]


def _tasks(each: _Round, order: Sequence[int], shards: Sequence[Sequence[int]]) -> Iterator[Task[Records]]:
    plan = each.with_rows(order)
    for number, rows in enumerate(shards):
        name = each.stage if len(shards) == 1 else f"{each.stage}, part {number + 1}"
        yield Task(name, measuring.measure, (plan, rows), EvaluationError)


def _rank_in(order: Sequence[int]) -> Callable[[int], int]:
    """Return the function from a row to its place in the order."""
    return order.index if isinstance(order, range) else {row: rank for rank, row in enumerate(order)}.__getitem__


def _merged(
    plan: EvaluationPlan,
    shards: Sequence[Sequence[int]],
    outcomes: Sequence[Done[Records] | Failed],
    rank: Callable[[int], int],
) -> Records | TflqError:
    """Return the record of each subject over all shards, in the order of the ranks."""
    failed = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
    if failed:
        return failed[0]
    parts = [outcome.get() for outcome in outcomes]

    def ranks(name: str, rows: Sequence[int], record: Record) -> list[int]:
        own = (row for row in rows if name not in plan.only or row in plan.only[name])
        return [rank(row) for row in islice(own, len(record.is_finite))]

    return {
        name: merge(
            [part[name] for part in parts],
            [ranks(name, rows, part[name]) for rows, part in zip(shards, parts, strict=True)],
        )
        for name in parts[0]
    }


def _extended(earlier: Records, added: Records) -> Records:
    """Return the records with the samples of one more round at their end."""
    return earlier | {
        name: _concatenated(earlier[name], added[name]) if name in earlier else added[name] for name in added
    }


def _concatenated(first: Record, second: Record) -> Record:
    count, more = len(first.is_finite), len(second.is_finite)
    return merge([first, second], [range(count), range(count, count + more)])
