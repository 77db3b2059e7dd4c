"""Compare every activation of a quantized file with the same activation of the float32 file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tflq.calibrate.observe import activations
from tflq.datasets import Sample
from tflq.flatbuffer import Graph, edit, load
from tflq.interpreter import Runner
from tflq.layerwise.align import align
from tflq.metrics.estimate import EQUAL_DB
from tflq.metrics.fidelity import errors, fidelity
from tflq.worker import ProgressCallback

BAD_LOSS_DB = 6.0
"""An op is bad if it loses at least this much SQNR."""
GOOD_SQNR_DB = 30.0
"""An op is not bad if its output has at least this SQNR."""
CLEAN_DB = 50.0
"""An input with a higher SQNR counts as one with this, since its error hardly matters."""
MEDIAN_VALUES = 2**14
"""The number of values of one call that a median is taken of, about."""


@dataclass(frozen=True)
class Activation:
    """An output tensor of an op, or an input of the model."""

    tensor: int
    name: str
    quantized_name: str
    """The name of the same tensor in the quantized file."""
    operator: int | None
    """The number of the op that computes the tensor; None for an input of the model."""
    sqnr_db: float
    """The SQNR in dB; EQUAL_DB if the quantized file has no error here."""
    peaks: tuple[float, ...]
    """The largest magnitude in each channel in the float32 file."""
    low: float = 0.0
    """The lowest value in the float32 file."""
    high: float = 0.0
    """The highest value in the float32 file."""
    typical: float = 0.0
    """The median magnitude in the float32 file, averaged over the calls."""


class Calls(Protocol):
    """The input arrays of each call. There may be fewer than the length says."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


def compare(report: ProgressCallback, files: tuple[Path, Path], calls: Calls, folder: Path) -> tuple[Activation, ...]:
    """Run both files, and return their common activations in the order of the graph, the inputs first.

    `files`: the float32 file and the quantized one. `calls`: the input arrays of each call.
    """
    float32, quantized = map(load, files)
    alignment = align(float32, quantized)
    observed = {index for index in activations(float32) if index in alignment.activations}
    runs = (
        Runner(_exposed(files[0], {index: index for index in observed}, folder / "float32-exposed.tflite")),
        Runner(
            _exposed(files[1], {index: alignment.activations[index] for index in observed}, folder / "exposed.tflite")
        ),
    )
    sums: dict[int, np.ndarray] = {}
    peaks: dict[int, np.ndarray] = {}
    spans: dict[int, list[tuple[float, float, float]]] = {}
    for done, arrays in enumerate(calls, 1):
        truths, answers = (run(arrays) for run in runs)
        for name, truth in truths.items():
            if truth.shape == answers[name].shape and truth.size:  # a shape may depend on the values
                sums[int(name)] = sums.get(int(name), 0) + errors(truth, answers[name])
                peaks[int(name)] = _update_peaks(peaks.get(int(name)), truth)
                spans.setdefault(int(name), []).append(_span(truth))
        report(done, len(calls))
    main = alignment.float32
    writers = {index: operator.index for operator in main.operators for index in operator.outputs}
    order = [*main.inputs, *(index for operator in main.operators for index in operator.outputs)]
    return tuple(
        Activation(
            tensor=index,
            name=main.tensors[index].name,
            quantized_name=alignment.quantized.tensors[alignment.activations[index]].name,
            operator=writers.get(index),
            sqnr_db=decibels(sums[index]),
            peaks=tuple(peaks[index].tolist()),
            low=min(low for low, _, _ in spans[index]),
            high=max(high for _, high, _ in spans[index]),
            typical=sum(typical for _, _, typical in spans[index]) / len(spans[index]),
        )
        for index in order
        if index in sums
    )


def _span(values: np.ndarray) -> tuple[float, float, float]:
    """Return the lowest value, the highest one, and the median magnitude of about MEDIAN_VALUES of them."""
    some = values.reshape(-1)[:: max(values.size // MEDIAN_VALUES, 1)]
    return float(values.min()), float(values.max()), float(np.median(np.abs(some)))


def _update_peaks(earlier: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Return the largest magnitude in each channel so far, or over all channels if their number changes."""
    peaks = np.abs(values.reshape(-1, values.shape[-1] if values.ndim else 1)).max(0)
    if earlier is None or earlier.shape == peaks.shape:
        return np.asarray(peaks if earlier is None else np.maximum(earlier, peaks))
    return np.array([max(earlier.max(), peaks.max())])


def _exposed(file: Path, outputs: Mapping[int, int], target: Path) -> Path:
    """Write the file with those tensors as its outputs. `outputs`: output name, a number → tensor index."""
    model = edit.unpack(file.read_bytes())
    edit.set_outputs(model, {str(name): index for name, index in outputs.items()})
    edit.write(model, target)
    return target


def decibels(row: np.ndarray) -> float:
    """Return the SQNR in dB of summed `errors`, float64 [8], within ±EQUAL_DB."""
    value = fidelity(row[np.newaxis]).sqnr_db
    return min(max(value, -EQUAL_DB), EQUAL_DB)


@dataclass(frozen=True)
class LocalLoss:
    """The loss at one op: the worst SQNR among its inputs, and the worst among its outputs, in dB."""

    operator: int
    before_db: float
    after_db: float

    @property
    def lost_db(self) -> float:
        return self.before_db - self.after_db

    @property
    def relevant_loss_db(self) -> float:
        """What the op loses, in dB. An input above CLEAN_DB counts as one of CLEAN_DB."""
        return min(self.before_db, CLEAN_DB) - self.after_db


def losses(float32: Graph, activations: Sequence[Activation]) -> Iterator[LocalLoss]:
    """Yield the loss of each op whose output was compared, in the order of the graph."""
    (subgraph, *_) = float32.subgraphs
    sqnr = {activation.tensor: activation.sqnr_db for activation in activations}
    for operator in subgraph.operators:
        after = [sqnr[index] for index in operator.outputs if index in sqnr]
        if after:
            before = [sqnr[index] for index in operator.inputs if index in sqnr]
            yield LocalLoss(operator.index, min(before, default=EQUAL_DB), min(after))


def first_bad(losses: Sequence[LocalLoss]) -> LocalLoss | None:
    """Return the first op with a large loss and a low SQNR after it, or None."""
    return next(filter(is_bad, losses), None)


def is_bad(loss: LocalLoss) -> bool:
    """Return whether the op has a large loss and a low SQNR after it."""
    return loss.lost_db >= BAD_LOSS_DB and loss.after_db < GOOD_SQNR_DB and math.isfinite(loss.lost_db)
