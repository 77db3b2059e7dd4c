"""Run files over a dataset. One pass, split over workers, records the statistics of each sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from tflq.calibrate import SampleCount, Seed, fingerprint
from tflq.datasets import Dataset, Row, Sample, brackets, select
from tflq.errors import DatasetError, EvaluationError, RecipeError
from tflq.inputs import Input, check_finite, make_sample
from tflq.interpreter import LatencyStats, Runner
from tflq.metrics import METRIC_NAMES, BuiltIn, Custom, Metric, built_in, errors, top_k_odds
from tflq.sources import PreparedSource, reference
from tflq.strict import Strict, did_you_mean, or_words
from tflq.worker import ProgressCallback

SOURCE, FLOAT32 = "the source", "the float32 baseline"
"""Names of the source model and the float32 file among the subjects. No variant can have them."""


Subject = Callable[[Sample], Mapping[str, np.ndarray]]
"""A model to measure, as a function from the input arrays of one call to the output arrays."""


class Evaluation(Strict):
    """The samples that every file is measured on, and the metric."""

    dataset: Dataset
    label: str | None = Field(None, description="The column of the dataset that holds the label.")
    output: str | None = Field(
        None, description="The model output that the metric uses. Needed if the model has several."
    )
    metric: Annotated[BuiltIn | Custom, or_words('{python: "module:function"}', *METRIC_NAMES)] | None = Field(
        None, description="The metric. Without one, only fidelity to the float32 file is measured."
    )
    samples: SampleCount = Field(
        2000,
        description="Number of rows, or `all`. A smaller dataset is used whole. With a metric, every file is measured"
        " on all of them. Without a metric, a number is a limit: measuring a file stops when the 95 % interval of each"
        " SQNR is within ±0.5 dB, that of each agreement within ±2 points, and no gate is undecided. A file with many"
        " int16 ops stops sooner, because they are slow. Every file is measured on 20 samples or more, if there are as"
        " many. `all` measures every file on all rows.",
    )
    seed: Seed = Field(
        0, description="Which rows: the seed of a random sample, or `first` for the first rows in order."
    )

    @property
    def scoring(self) -> Metric | None:
        """The metric, or None."""
        return built_in(self.metric) if isinstance(self.metric, str) else self.metric


@dataclass(frozen=True)
class EvaluationPlan:
    """The files to measure and the samples to measure them on. The float32 file is the reference."""

    evaluation: Evaluation
    inputs: Mapping[str, Input]
    source: PreparedSource
    float32: Path
    first: Sample
    """The input arrays of one call. Other outputs are compared with its output, to see whether they vary."""
    files: Mapping[str, Path]
    only: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Subject → the rows that it is measured on; a subject without an entry is measured on all rows."""
    runs_source: bool = False
    calibrated_with: frozenset[str] = frozenset()
    """Fingerprints of the calibration samples. Evaluation samples should not be among them."""


@dataclass(frozen=True)
class EvaluationRows:
    """The rows to measure, and the input arrays of one call made from the first rows."""

    indices: Sequence[int]
    total: int | None
    """Number of rows of the dataset; None if it is known only after reading all of them."""
    arrays: Sample


def evaluation_rows(
    _: ProgressCallback, evaluation: Evaluation, inputs: Mapping[str, Input], source: PreparedSource
) -> EvaluationRows:
    """Choose the rows and make the arrays of a first call. DatasetError if rows and model do not fit."""
    _refuse_unknown_output(evaluation, source)
    chosen = select(evaluation.dataset, evaluation.samples, evaluation.seed)
    row = next(iter(evaluation.dataset.rows(chosen.indices[:1], source.inputs)), None)
    if row is None:
        raise DatasetError(f"{evaluation.dataset}: yields no rows, so there is nothing to measure")
    if evaluation.label is not None and evaluation.label not in row:
        hint = did_you_mean(evaluation.label, row)
        raise DatasetError(
            f"evaluation.label: there is no column {evaluation.label!r}{hint}; the columns are {', '.join(row)}"
        )
    sample = make_sample(row, inputs, source.inputs)
    check_finite(sample, chosen.indices[0], evaluation.dataset)
    return EvaluationRows(chosen.indices, chosen.total, stack([sample], source))


def _refuse_unknown_output(evaluation: Evaluation, source: PreparedSource) -> None:
    names = [spec.name for spec in source.outputs]
    if evaluation.metric is not None and evaluation.output is None and len(names) > 1:
        raise RecipeError(f"evaluation.output is missing: give one of the model's outputs {', '.join(names)}")
    if evaluation.output is not None and evaluation.output not in names:
        hint = did_you_mean(evaluation.output, names)
        raise RecipeError(
            f"evaluation.output: there is no output {evaluation.output!r}{hint}; the outputs are {', '.join(names)}"
        )


@dataclass(frozen=True)
class Record:
    """The statistics of one subject for each sample, in the order of the samples' indices."""

    statistics: np.ndarray
    """The metric's statistics, [samples, k]; k is 0 without a metric."""
    errors: Mapping[str, np.ndarray]
    """Output name → the sums of `metrics.errors` against the float32 file, [samples, 6]."""
    agreement: Mapping[str, np.ndarray]
    """Output name → probability that the top class is that of the float32 file, [samples]; only class outputs."""
    spread: Mapping[str, np.ndarray]
    """Output name → largest difference from the output of the plan's first call, [samples]."""
    is_finite: np.ndarray
    """Whether all outputs are finite, [samples]."""
    was_calibrated_on: np.ndarray
    """Whether the sample is also a calibration sample, [samples]."""

    def at(self, places: Sequence[int]) -> Record:
        """Return the record of only the samples at those places."""
        positions = list(places)
        return Record(
            self.statistics[positions],
            {name: rows[positions] for name, rows in self.errors.items()},
            {name: odds[positions] for name, odds in self.agreement.items()},
            {name: distances[positions] for name, distances in self.spread.items()},
            self.is_finite[positions],
            self.was_calibrated_on[positions],
        )


def measure(report: ProgressCallback, plan: EvaluationPlan, indices: Sequence[int]) -> dict[str, Record]:
    """Run the float32 file over the rows with those increasing indices, and each other subject over its rows of them.

    Returns the record of each subject, in the order of the indices.
    """
    float32 = Runner(plan.float32)
    subjects: dict[str, Subject] = {FLOAT32: float32}
    subjects |= {name: Runner(path) for name, path in plan.files.items()}
    if plan.runs_source:
        subjects[SOURCE] = reference(plan.source)
    recorders = {name: SampleRecorder(plan, run(plan.first)) for name, run in subjects.items()}
    done = 0
    for rows, samples in batches(plan, indices):
        arrays = stack(samples, plan.source)
        truths = split(float32(arrays), len(samples), plan.source)
        calibrated = [fingerprint(sample) in plan.calibrated_with for sample in samples]
        numbers = indices[done : done + len(samples)]
        for name, run in subjects.items():
            places = [i for i, number in enumerate(numbers) if name not in plan.only or number in plan.only[name]]
            if places:
                answers = truths if run is float32 else split(run(arrays), len(samples), plan.source)
            for i in places:
                recorders[name].add(rows[i], truths[i], answers[i], calibrated[i])
        done += len(samples)
        report(done, len(indices))
    return {name: recorder.record() for name, recorder in recorders.items()}


def batches(plan: EvaluationPlan, indices: Sequence[int]) -> Iterator[tuple[list[Row], list[Sample]]]:
    """Yield the rows with those indices and their samples, in groups of one call's batch size."""
    rows = plan.evaluation.dataset.rows(indices, plan.source.inputs)
    numbers = iter(indices)
    while chunk := list(islice(rows, plan.source.batch or 1)):
        samples = [make_sample(row, plan.inputs, plan.source.inputs) for row in chunk]
        for sample, number in zip(samples, numbers, strict=False):
            check_finite(sample, number, plan.evaluation.dataset)
        yield chunk, samples


def stack(samples: Sequence[Sample], source: PreparedSource) -> Sample:
    """Stack samples into the arrays of one call. If there are too few, the last one is repeated."""
    padded = [*samples, *[samples[-1]] * ((source.batch or 1) - len(samples))]
    return {spec.name: spec.call(np.stack([sample[spec.name] for sample in padded])) for spec in source.inputs}


def split(outputs: Mapping[str, np.ndarray], count: int, source: PreparedSource) -> list[dict[str, np.ndarray]]:
    """Split the outputs of one call into those of its first `count` samples."""
    batch = source.batch or 1
    if batch == 1:
        return [dict(outputs)]
    for name, output in outputs.items():
        if output.shape[:1] != (batch,):
            raise EvaluationError(
                f"output {name!r} is {brackets(output.shape)} for {batch} samples, so it cannot be split into"
                " samples: set model.batch_size to 1"
            )
    return [{name: output[i : i + 1] for name, output in outputs.items()} for i in range(count)]


class SampleRecorder:
    """A recorder of the statistics of one subject, sample by sample."""

    def __init__(self, plan: EvaluationPlan, first: Mapping[str, np.ndarray]) -> None:
        self.metric, self.label = plan.evaluation.scoring, plan.evaluation.label
        self.output = plan.evaluation.output or plan.source.outputs[0].name
        self.first = split(first, 1, plan.source)[0]
        self.statistics: list[np.ndarray] = []
        self.errors: dict[str, list[np.ndarray]] = {}
        self.agreement: dict[str, list[float]] = {}
        self.spread: dict[str, list[float]] = {}
        self.is_finite: list[bool] = []
        self.was_calibrated_on: list[bool] = []

    def add(self, row: Row, truth: Sample, answer: Sample, was_calibrated_on: bool = False) -> None:
        """Add one sample: its row, the float32 file's output `truth`, and the subject's output `answer`."""
        self.was_calibrated_on.append(was_calibrated_on)
        self.is_finite.append(all(np.isfinite(output).all() for output in answer.values()))
        for name, f in truth.items():
            q = _matching_output(f, name, answer)
            self.errors.setdefault(name, []).append(errors(f, q))
            self.spread.setdefault(name, []).append(_distance(q, self.first[name]))
            if f.ndim == 2 and f.shape[1] > 1:
                self.agreement.setdefault(name, []).append(top_k_odds(q, int(f.argmax()), 1))
        if self.metric and self.label:
            self.statistics.append(self.metric.statistics(answer[self.output], np.asarray(row[self.label])))

    def record(self) -> Record:
        """Return the record of all samples so far."""
        return Record(
            statistics=np.array(self.statistics).reshape(len(self.is_finite), -1 if self.statistics else 0),
            errors={name: np.array(rows) for name, rows in self.errors.items()},
            agreement={name: np.array(odds) for name, odds in self.agreement.items()},
            spread={name: np.array(distances) for name, distances in self.spread.items()},
            is_finite=np.array(self.is_finite),
            was_calibrated_on=np.array(self.was_calibrated_on),
        )


def _matching_output(reference: np.ndarray, name: str, answer: Mapping[str, np.ndarray]) -> np.ndarray:
    if name not in answer:
        raise EvaluationError(f"the file has no output {name!r}; its outputs are {', '.join(answer)}")
    if answer[name].shape != reference.shape:
        raise EvaluationError(
            f"output {name!r} is {brackets(answer[name].shape)}, but {brackets(reference.shape)} in the float32 file"
            " for the same sample, so they cannot be compared"
        )
    return answer[name]


def _distance(output: np.ndarray, other: np.ndarray) -> float:
    """Return the largest absolute difference, or infinity if the shapes differ."""
    if output.shape != other.shape:
        return math.inf
    return float(np.abs(output.astype(np.float64) - other.astype(np.float64)).max(initial=0))


def merge(records: Sequence[Record], ranks: Sequence[Sequence[int]]) -> Record:
    """Join the records of one subject in the order of the ranks, one rank for each sample of each record."""
    order = np.argsort(np.concatenate([np.asarray(part, np.int64) for part in ranks]), kind="stable")
    non_empty = [record for record in records if len(record.is_finite)]
    if not non_empty:  # a dataset may end before the first of these samples
        return records[0]

    def join(parts: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(parts))[order]

    return Record(
        statistics=join(record.statistics for record in non_empty),
        errors={name: join(record.errors[name] for record in non_empty) for name in non_empty[0].errors},
        agreement={name: join(record.agreement[name] for record in non_empty) for name in non_empty[0].agreement},
        spread={name: join(record.spread[name] for record in non_empty) for name in non_empty[0].spread},
        is_finite=join(record.is_finite for record in non_empty),
        was_calibrated_on=join(record.was_calibrated_on for record in non_empty),
    )


def time(_: ProgressCallback, path: Path, arrays: Sample, settings: tuple[int, int, int]) -> LatencyStats:
    """Measure the latency of the file on these inputs. `settings`: runs, warm-up runs and threads."""
    runs, warmup, threads = settings
    return Runner(path, threads).time(arrays, runs, warmup)
