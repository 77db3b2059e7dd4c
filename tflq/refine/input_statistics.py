"""The mean and the covariance of each layer's inputs, from a run over a part of the calibration samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

import numpy as np

from tflq.calibrate.samples import Samples
from tflq.flatbuffer import FileContent, edit
from tflq.interpreter import Runner
from tflq.refine.weighted_ops import Layer

MIN_ROWS, MAX_ROWS = 128, 1024
"""The least and the largest number of positions of a layer's output in each call."""
MIN_ROWS_PER_INPUT, ROWS_PER_INPUT, ENOUGH_ROWS = 2, 64, 4096
"""The number of positions for a covariance, over all calls.

It is ROWS_PER_INPUT for each input of an output channel, but at most ENOUGH_ROWS. For a layer with very many inputs, it
is MIN_ROWS_PER_INPUT for each of them. More of them take time, and win little.
"""
ROWS_AT_ONCE, VALUES_AT_ONCE = 1024, 1 << 19
"""The rows and the values that are gathered before they are added up.

A sum of few rows takes as long as one of many, but that of many values leaves the cache of the processor. The rows
are at least a quarter as many as the inputs, since the sum itself is large if there are many inputs.
"""
MAX_WIDTH = 2400
"""The largest number of inputs of an output channel for which a covariance is computed in reasonable time."""
MAX_COVARIANCE_BYTES = 256 << 20
"""The bytes of all covariances in one run; a model that needs more takes several runs."""


@dataclass(frozen=True)
class InputStatistics:
    """The statistics of a layer's inputs, as the rows of its matrix product."""

    mean: np.ndarray
    """float64 [groups, inputs]"""
    covariance: np.ndarray | None
    """float32 [groups, inputs, inputs]; None if it was not requested, or is too large, or cannot be used."""
    rows: int
    """The number of rows that the covariance was taken from; 0 without a covariance."""


def input_statistics(
    content: bytes,
    layers: Sequence[Layer],
    data: tuple[Samples, Sequence[int]],
    scratch: Path,
    with_covariance: bool = True,
) -> Iterator[InputStatistics]:
    """Yield the statistics of each layer of the float32 file in turn, a batch of layers at a time.

    `data` holds the calibration samples, and the calls that are used of them. `scratch` is the path of a temporary
    file. If `with_covariance` is False, only means are computed, which is much faster.
    """
    for batch in _batches(layers, with_covariance):
        expose_inputs(content, batch, scratch)
        sums = _sums(Runner(scratch), batch, data, with_covariance)
        scratch.unlink()
        for layer in batch:
            yield sums.pop(layer.operator.index).input_statistics()


def _batches(layers: Sequence[Layer], with_covariance: bool) -> Iterator[list[Layer]]:
    batch: list[Layer] = []
    for layer in layers:
        if batch and with_covariance and sum(map(_covariance_bytes, [*batch, layer])) > MAX_COVARIANCE_BYTES:
            yield batch
            batch = []
        batch.append(layer)
    if batch:
        yield batch


def _covariance_bytes(layer: Layer) -> int:
    return 4 * layer.width**2 * layer.groups if has_covariance(layer) else 0


def has_covariance(layer: Layer) -> bool:
    """Whether a covariance of the layer's inputs can be computed and used."""
    return layer.width <= MAX_WIDTH and not layer.is_scattered


def covariance_rows(width: int) -> int:
    """Return the number of positions over all calls for a covariance of so many inputs."""
    return max(MIN_ROWS_PER_INPUT * width, min(ROWS_PER_INPUT * width, ENOUGH_ROWS), MIN_ROWS)


class _Sum:
    """Sums over rows of one layer's inputs.

    The mean is of all rows, and the covariance of the first ones of each call. The sums of the covariance are taken
    about the mean of the first rows of all, to lose fewer digits.
    """

    def __init__(self, layer: Layer, calls: int, with_covariance: bool) -> None:
        is_possible = has_covariance(layer)
        self.layer, self.has_covariance = layer, with_covariance and is_possible
        self._of_covariance = min(ceil(covariance_rows(layer.width) / calls), MAX_ROWS)
        # the mean is of the same rows with a covariance and without
        self.rows = max(self._of_covariance, MIN_ROWS) if is_possible else MIN_ROWS
        self._rows_seen, self._total = 0, np.zeros(0)
        self._waiting: list[np.ndarray] = []
        self._count, self._origin = 0, np.zeros(0)
        self._first, self._second = np.zeros(0), np.zeros(0, np.float32)

    def add(self, data: np.ndarray, seed: int) -> None:
        patches = self.layer.input_patches(data, self.rows, seed)
        self._rows_seen += len(patches)
        self._total = patches.sum(0, dtype=np.float64) + (self._total if self._total.size else 0)
        if not self.has_covariance:
            return
        self._waiting.append(patches[: self._of_covariance])
        rows = sum(map(len, self._waiting))
        are_many = rows * prod(self._waiting[0].shape[1:]) >= VALUES_AT_ONCE and rows >= self.layer.width / 4
        if are_many or rows >= ROWS_AT_ONCE:
            self._flush()

    def input_statistics(self) -> InputStatistics:
        mean = self._total / self._rows_seen
        if not self.has_covariance:
            return InputStatistics(mean, None, 0)
        if self._waiting:
            self._flush()
        offset, covariance = (self._first / self._count).astype(np.float32), self._second
        covariance /= self._count
        covariance -= offset[:, :, np.newaxis] * offset[:, np.newaxis, :]
        return InputStatistics(mean, covariance, self._count)

    def _flush(self) -> None:
        rows = np.ascontiguousarray(np.moveaxis(np.concatenate(self._waiting), 1, 0))  # [groups, rows, inputs]
        if not self._count:
            self._origin, (groups, _, width) = rows.mean(1, keepdims=True), rows.shape
            self._first, self._second = np.zeros((groups, width)), np.zeros((groups, width, width), np.float32)
        centred = np.subtract(rows, self._origin, out=rows)
        self._first += (np.ones((1, rows.shape[1]), rows.dtype) @ centred)[:, 0]
        self._second += _products(centred)
        self._count += rows.shape[1]
        self._waiting.clear()


def _products(rows: np.ndarray) -> np.ndarray:
    """Return the sum of the products of all pairs of inputs, [groups, inputs, inputs], for rows [groups, rows, inputs].

    NumPy computes half of the products of one matrix with itself, but all of a stack of matrices.
    """
    if len(rows) == 1:
        (only,) = rows
        return np.asarray(only.T @ only)[np.newaxis]
    return np.asarray(np.moveaxis(rows, 1, 2) @ rows)


def expose_inputs(content: FileContent, layers: Sequence[Layer], target: Path) -> None:
    """Write the float32 file whose outputs are the inputs of these layers, by the indices of their tensors."""
    model = edit.unpack(bytes(content))
    edit.set_outputs(model, {str(layer.activation.index): layer.activation.index for layer in layers})
    edit.drop_unneeded_operators(model)
    edit.write(model, target)


def _sums(
    run: Runner, layers: Sequence[Layer], data: tuple[Samples, Sequence[int]], with_covariance: bool
) -> dict[int, _Sum]:
    samples, calls = data
    sums = {layer.operator.index: _Sum(layer, len(calls), with_covariance) for layer in layers}
    for call, arrays in zip(calls, samples.calls(calls), strict=True):
        answers = run(arrays)
        for layer_sum in sums.values():
            layer_sum.add(answers[str(layer_sum.layer.activation.index)], call)
    return sums
