"""Run files over a dataset. One pass, split over workers, records the statistics of each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from tflq import flatbuffer
from tflq.calibrate import fingerprint
from tflq.datasets import Row, Sample
from tflq.evaluate.answers import AnswerRecorder
from tflq.evaluate.plan import EvaluationPlan, split, stack
from tflq.evaluate.record import Record
from tflq.evaluate.recorder import SampleRecorder
from tflq.id_tables import IdCheck
from tflq.inputs import check_finite, make_sample
from tflq.interpreter import LatencyStats, Runner
from tflq.metrics import OutputRange
from tflq.sources import reference
from tflq.worker import ProgressCallback

SOURCE, FLOAT32 = "the source", "the float32 baseline"
"""Names of the source model and the float32 file among the subjects. No variant can have them."""


Subject = Callable[[Sample], Mapping[str, np.ndarray]]
"""A model to measure, as a function from the input arrays of one call to the output arrays."""


def measure(report: ProgressCallback, plan: EvaluationPlan, indices: Sequence[int]) -> dict[str, Record]:
    """Run the float32 file over the rows with those increasing indices, and each other subject over its rows of them.

    Returns the record of each subject, in the order of the indices.
    """
    float32 = Runner(plan.float32)
    subjects: dict[str, Subject] = {FLOAT32: float32}
    subjects |= {name: Runner(path) for name, path in plan.files.items()}
    if plan.runs_source:
        subjects[SOURCE] = reference(plan.source)
    ranges = {name: output_ranges(path) for name, path in plan.files.items()}
    recorders = {name: SampleRecorder(plan, run(plan.first), ranges.get(name)) for name, run in subjects.items()}
    answering = {name: AnswerRecorder(plan) for name in plan.files}
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
                if name in answering:
                    answering[name].add((numbers[i], rows[i]), samples[i], truths[i], answers[i])
        done += len(samples)
        report(done, len(indices))
    records = {name: recorder.record() for name, recorder in recorders.items()}
    return records | {name: replace(records[name], answers=each.answers()) for name, each in answering.items()}


def batches(plan: EvaluationPlan, indices: Sequence[int]) -> Iterator[tuple[list[Row], list[Sample]]]:
    """Yield the rows with those indices and their samples, in groups of one call's batch size."""
    rows = plan.evaluation.dataset.rows(indices, plan.source.inputs)
    numbers, check = iter(indices), IdCheck(plan.float32, plan.inputs)
    while chunk := list(islice(rows, plan.source.batch or 1)):
        samples = [make_sample(row, plan.inputs, plan.source.inputs) for row in chunk]
        chosen = list(islice(numbers, len(chunk)))
        for sample, number in zip(samples, chosen, strict=True):
            check_finite(sample, number, plan.evaluation.dataset)
        check.refuse(stack(samples, plan.source), chosen, plan.evaluation.dataset)
        yield chunk, samples


def output_ranges(path: Path) -> dict[str, OutputRange]:
    """Return the range of each quantized output of the file."""
    return {name: OutputRange(*ends) for name, ends in flatbuffer.output_ranges(flatbuffer.load(path)).items()}


def time(_: ProgressCallback, path: Path, arrays: Sample, settings: tuple[int, int, int]) -> LatencyStats:
    """Measure the latency of the file on these inputs. `settings`: runs, warm-up runs and threads."""
    runs, warmup, threads = settings
    return Runner(path, threads).time(arrays, runs, warmup)
