"""Run files over a dataset. One pass, split over workers, records the statistics of each sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tflq import flatbuffer
from tflq.calibrate.samples import fingerprint
from tflq.datasets import Row, Sample
from tflq.evaluate.answers import AnswerRecorder
from tflq.evaluate.plan import EvaluationPlan, rows_and_samples, stack
from tflq.evaluate.record import Record
from tflq.evaluate.recorded import FLOAT32, Subject, loaders
from tflq.evaluate.recorder import SampleRecorder
from tflq.id_tables import IdCheck
from tflq.interpreter import LatencyStats, Runner
from tflq.metrics.channels import OutputRange
from tflq.worker import ProgressCallback


def measure(report: ProgressCallback, plan: EvaluationPlan, indices: Sequence[int]) -> dict[str, Record]:
    """Run the float32 file over the rows with those increasing indices, and each other subject over its rows of them.

    Returns the record of each subject, in the order of the indices.
    """
    subjects = {name: Subject(plan, load, plan.recorded.get(name)) for name, load in loaders(plan).items()}
    ranges = {name: output_ranges(path) for name, path in plan.files.items()}
    recorders = {name: SampleRecorder(plan, each.first(), ranges.get(name)) for name, each in subjects.items()}
    answering = {name: AnswerRecorder(plan) for name in plan.files}
    done, check = 0, IdCheck(plan.float32, plan.inputs)
    for numbers, rows, samples in rows_and_samples(plan, indices):
        arrays = stack(samples, plan.source)
        check.refuse(arrays, numbers, plan.evaluation.dataset)
        fingerprints = [fingerprint(sample) for sample in samples]
        truths = subjects[FLOAT32].outputs(arrays, fingerprints)
        for name, subject in subjects.items():
            places = [i for i, number in enumerate(numbers) if name not in plan.only or number in plan.only[name]]
            if places:
                answers = truths if name == FLOAT32 else subject.outputs(arrays, fingerprints)
            for i in places:
                recorders[name].add(rows[i], truths[i], answers[i], fingerprints[i] in plan.calibrated_with)
                if name in answering:
                    answering[name].add((numbers[i], rows[i]), samples[i], truths[i], answers[i])
        done += len(samples)
        report(done, len(indices))
    records = {name: recorder.record() for name, recorder in recorders.items()}
    return records | {name: replace(records[name], answers=each.answers()) for name, each in answering.items()}


def batches(plan: EvaluationPlan, indices: Sequence[int]) -> Iterator[tuple[list[Row], list[Sample]]]:
    """Yield the rows with those indices and their samples, in groups of one call's batch size.

    Raises DatasetError for ids that the float32 file has no row for.
    """
    check = IdCheck(plan.float32, plan.inputs)
    for numbers, rows, samples in rows_and_samples(plan, indices):
        check.refuse(stack(samples, plan.source), numbers, plan.evaluation.dataset)
        yield rows, samples


def output_ranges(path: Path) -> dict[str, OutputRange]:
    """Return the range of each quantized output of the file."""
    return {name: OutputRange(*ends) for name, ends in flatbuffer.output_ranges(flatbuffer.load(path)).items()}


def time(_: ProgressCallback, path: Path, arrays: Sample, settings: tuple[int, int, int]) -> LatencyStats:
    """Measure the latency of the file on these inputs. `settings`: runs, warm-up runs and threads."""
    runs, warmup, threads = settings
    return Runner(path, threads).time(arrays, runs, warmup)
