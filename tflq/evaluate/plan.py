"""What is measured: the files, the rows, and the arrays of a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from tflq.datasets import Row, Sample, brackets, select
from tflq.errors import DatasetError, EvaluationError, RecipeError
from tflq.evaluate.section import Evaluation
from tflq.id_tables import IdCheck
from tflq.inputs.checks import check_finite
from tflq.inputs.samples import make_sample
from tflq.inputs.schema import Input
from tflq.metrics.detection import Detection
from tflq.sources.prepared import PreparedSource
from tflq.strict import did_you_mean
from tflq.worker import ProgressCallback


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
    recorded: Mapping[str, Path] = field(default_factory=dict)
    """Subject → the folder of its outputs on some of the rows, so that it need not run there."""
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
    for key, column in evaluation.columns.items():
        if column not in row:
            hint = did_you_mean(column, row)
            raise DatasetError(
                f"evaluation.{key}: there is no column {column!r}{hint}; the columns are {', '.join(row)}"
            )
    sample = make_sample(row, inputs, source.inputs)
    check_finite(sample, chosen.indices[0], evaluation.dataset)
    return EvaluationRows(chosen.indices, chosen.total, stack([sample], source))


def refuse_unknown_ids(
    _: ProgressCallback, float32: Path, evaluation: Evaluation, inputs: Mapping[str, Input], rows: EvaluationRows
) -> None:
    """Raise DatasetError if the first row has an id for which a table of the model has no row."""
    IdCheck(float32, inputs).refuse(rows.arrays, rows.indices[:1], evaluation.dataset)


def _refuse_unknown_output(evaluation: Evaluation, source: PreparedSource) -> None:
    names = [spec.name for spec in source.outputs]
    given = {} if evaluation.output is None else {"output": evaluation.output}
    if isinstance(evaluation.metric, Detection):
        given = {f"metric.{key}": name for key, name in evaluation.metric.outputs.items()}
    if evaluation.metric is not None and not given and len(names) > 1:
        raise RecipeError(f"evaluation.output is missing: give one of the model's outputs {', '.join(names)}")
    for key, name in given.items():
        if name not in names:
            hint = did_you_mean(name, names)
            raise RecipeError(
                f"evaluation.{key}: there is no output {name!r}{hint}; the outputs are {', '.join(names)}"
            )


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


def rows_and_samples(
    plan: EvaluationPlan, indices: Sequence[int]
) -> Iterator[tuple[list[int], list[Row], list[Sample]]]:
    """Yield the indices, the rows and the samples of each call, for the rows with those increasing indices."""
    rows, numbers = plan.evaluation.dataset.rows(indices, plan.source.inputs), iter(indices)
    while chunk := list(islice(rows, plan.source.batch or 1)):
        samples = [make_sample(row, plan.inputs, plan.source.inputs) for row in chunk]
        chosen = list(islice(numbers, len(chunk)))
        for sample, number in zip(samples, chosen, strict=True):
            check_finite(sample, number, plan.evaluation.dataset)
        yield chosen, chunk, samples
