"""The real inputs of a few calls, with which other runtimes and golden vectors are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from tflq.errors import DatasetError, TflqError
from tflq.evaluate.plan import stack
from tflq.evaluate.section import Evaluation
from tflq.inputs.samples import make_sample
from tflq.inputs.schema import Input
from tflq.sources.prepared import PreparedSource
from tflq.stages.context import RunContext
from tflq.stages.state import PreparedRun
from tflq.worker import ProgressCallback, Task

Call = Mapping[str, np.ndarray]
CALLS = 3


def sample_calls(context: RunContext, source: PreparedSource, prepared: PreparedRun) -> list[Call] | TflqError:
    """Return the inputs of the calls by name, or the error of the dataset."""
    recipe, indices = context.recipe, prepared.evaluation_rows.indices[:CALLS]
    arguments = (recipe.measured_on, recipe.inputs, source, indices)
    task: Task[list[Call]] = Task("read samples for other runtimes", _read_calls, arguments, DatasetError)
    try:
        return context.workers.run(task).value
    except TflqError as error:
        return error


def _read_calls(
    _: ProgressCallback,
    evaluation: Evaluation,
    inputs: Mapping[str, Input],
    source: PreparedSource,
    indices: Sequence[int],
) -> list[Call]:
    """Return the inputs of a call for each row."""
    rows = islice(evaluation.dataset.rows(indices, source.inputs), len(indices))
    return [stack([make_sample(row, inputs, source.inputs)], source) for row in rows]
