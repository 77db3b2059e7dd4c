"""Measure the fidelity of files: how near their outputs are to those of the float32 file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.errors import EvaluationError, TflqError
from tflq.interpreter import Runner
from tflq.metrics.fidelity import errors, fidelity
from tflq.worker import Failed, ProgressCallback, Task, Workers, processors

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class OutputFigures:
    """The fidelity of one output of a file."""

    output: str
    """The name of the output in the float32 file."""
    sqnr_db: float
    agreement: float
    """Share of places with the same largest channel."""


def measure(files: Sequence[Path], float32: Path, data: Path) -> list[tuple[OutputFigures, ...] | TflqError]:
    """Return the fidelity of each output of each file, or why the file cannot run.

    Each file has a process of its own, as many at a time as there are processors. The .npz file has the samples.
    """
    truth = data.with_name(f"{data.stem}-answers.npz")
    with Workers(data.with_name("log"), None, lambda _: None) as workers:
        workers.run(Task("answer", _save_answers, (float32, data, truth), EvaluationError))
        tasks = [Task("measure", _figures, (file, data, truth), EvaluationError) for file in files]
        outcomes = workers.run_all(tasks, processors())
    return [outcome.error if isinstance(outcome, Failed) else outcome.value for outcome in outcomes]


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as held:
        return {name: held[name] for name in held.files}


def _save_answers(_: ProgressCallback, float32: Path, data: Path, target: Path) -> None:
    answers = _answers(float32, data)
    np.savez(
        target, allow_pickle=False, **{name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
    )


def _figures(_: ProgressCallback, file: Path, data: Path, truth: Path) -> tuple[OutputFigures, ...]:
    """Outputs are paired by their place in the sorted names: another quantizer may name them anew."""
    answers, expected = _answers(file, data), load(truth)
    names = zip(sorted(expected), sorted(answers[0]), strict=True)
    return tuple(_of_output(name, expected[name], [answer[own] for answer in answers]) for name, own in names)


def _of_output(name: str, truth: np.ndarray, answers: Sequence[np.ndarray]) -> OutputFigures:
    pairs = list(zip(truth, answers, strict=True))
    sqnr_db = fidelity(np.stack([errors(one, other) for one, other in pairs])).sqnr_db
    return OutputFigures(name, sqnr_db, float(np.mean([one.argmax(-1) == other.argmax(-1) for one, other in pairs])))


def _answers(file: Path, data: Path) -> list[dict[str, np.ndarray]]:
    runner = Runner(file)
    return [runner(sample) for sample in _samples(data)]


def _samples(data: Path) -> Iterator[Arrays]:
    columns = load(data)
    for row in range(len(next(iter(columns.values())))):
        yield {name: rows[row : row + 1] for name, rows in columns.items()}
