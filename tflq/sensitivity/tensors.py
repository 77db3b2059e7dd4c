"""Every activation of a quantized file beside that of the float32 file, on the same samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate import activations
from tflq.datasets import Sample
from tflq.flatbuffer import edit, load
from tflq.interpreter import Runner
from tflq.metrics import errors, fidelity
from tflq.sensitivity.align import aligned
from tflq.trials.measurements import EQUAL_DB
from tflq.worker import ProgressCallback

FAR = 6.0
"""Decibels that an op must lose for it to be called the first that spoils something."""
GOOD = 30.0
"""With so many left, nothing is spoilt yet."""


@dataclass(frozen=True)
class Activation:
    """A tensor that an op makes, or an input; `operator` is None of an input."""

    tensor: int
    name: str
    operator: int | None
    sqnr_db: float
    """EQUAL_DB where the quantized file has it without any error."""
    peaks: tuple[float, ...]
    """The largest magnitude in each channel of the float32 file's."""


def compare(
    report: ProgressCallback, files: tuple[Path, Path], calls: Sequence[Sample], folder: Path
) -> tuple[Activation, ...]:
    """In the order in which they are made, the inputs first; of the float32 file and the quantized one."""
    found = aligned(load(files[0]), load(files[1]))
    observed = {index for index in activations(load(files[0])) if index in found.activations}
    runs = (
        Runner(_exposed(files[0], {index: index for index in observed}, folder / "float32-exposed.tflite")),
        Runner(_exposed(files[1], {index: found.activations[index] for index in observed}, folder / "exposed.tflite")),
    )
    sums: dict[int, np.ndarray] = {}
    peaks: dict[int, np.ndarray] = {}
    for done, arrays in enumerate(calls, 1):
        truths, answers = (run(arrays) for run in runs)
        for name, truth in truths.items():
            if truth.shape == answers[name].shape and truth.size:  # a shape may depend on the numbers
                sums[int(name)] = sums.get(int(name), 0) + errors(truth, answers[name])
                peaks[int(name)] = _higher(peaks.get(int(name)), truth)
        report(done, len(calls))
    tensors = found.float32.tensors
    makers = {index: operator.index for operator in found.float32.operators for index in operator.outputs}
    order = [*found.float32.inputs, *(index for operator in found.float32.operators for index in operator.outputs)]
    return tuple(
        Activation(index, tensors[index].name, makers.get(index), decibels(sums[index]), tuple(peaks[index].tolist()))
        for index in order
        if index in sums
    )


def _higher(known: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """The largest magnitude in each channel, or of all where their number changes."""
    peaks = np.abs(values.reshape(-1, values.shape[-1] if values.ndim else 1)).max(0)
    if known is None or known.shape == peaks.shape:
        return np.asarray(peaks if known is None else np.maximum(known, peaks))
    return np.array([max(known.max(), peaks.max())])


def _exposed(file: Path, outputs: Mapping[int, int], target: Path) -> Path:
    """The file with those tensors as its outputs, called by the numbers that they stand under."""
    model = edit.unpack(file.read_bytes())
    edit.set_outputs(model, {str(name): index for name, index in outputs.items()})
    edit.write(model, target)
    return target


def decibels(row: np.ndarray) -> float:
    value = fidelity(row[np.newaxis]).sqnr_db
    return min(max(value, -EQUAL_DB), EQUAL_DB)


@dataclass(frozen=True)
class LocalLoss:
    """What an op loses: the worst SQNR among what it reads, and that of what it makes."""

    operator: int
    before_db: float
    after_db: float

    @property
    def lost_db(self) -> float:
        return self.before_db - self.after_db


def losses(float32: Path, found: Sequence[Activation]) -> Iterator[LocalLoss]:
    """Of each op whose output was compared, in the order of the graph."""
    (subgraph, *_) = load(float32).subgraphs
    known = {one.tensor: one.sqnr_db for one in found}
    for operator in subgraph.operators:
        after = [known[index] for index in operator.outputs if index in known]
        if after:
            before = [known[index] for index in operator.inputs if index in known]
            yield LocalLoss(operator.index, min(before, default=EQUAL_DB), min(after))


def first_bad(found: Sequence[LocalLoss]) -> LocalLoss | None:
    """The first op that loses much and leaves little; None where none does."""
    return next(
        (one for one in found if one.lost_db >= FAR and one.after_db < GOOD and math.isfinite(one.lost_db)), None
    )
