"""The mean and the covariance of what the weights of each layer meet, from one run over a part of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate import Samples
from tflq.flatbuffer import edit
from tflq.interpreter import Runner
from tflq.refine.weighted_ops import Layer

MIN_ROWS, MAX_ROWS = 128, 1024
"""Positions of a layer's output that are looked at in each call."""
ROWS_PER_INPUT = 4
"""In all calls together, for each input of an output channel, so that the covariance is known."""
MAX_WIDTH = 2400
"""Inputs of an output channel of which there is no covariance, since it would take too long."""
MAX_COVARIANCE_BYTES = 192 << 20
"""Bytes of covariances at a time; what needs more takes several runs."""


@dataclass(frozen=True)
class InputStatistics:
    """Of what a layer's weights meet."""

    mean: np.ndarray
    """float64 [groups, inputs]"""
    covariance: np.ndarray | None
    """float64 [groups, inputs, inputs]; None where it would be too large, or would tell nothing."""


def input_statistics(
    content: bytes,
    layers: Sequence[Layer],
    data: tuple[Samples, Sequence[int]],
    scratch: Path,
    with_covariance: bool = True,
) -> Iterator[InputStatistics]:
    """Of each layer of the file in turn; the next are found when the last were used. `scratch` is for a file.

    Without `with_covariance` there are means alone, which is much faster.
    """
    for some in _batches(layers, with_covariance):
        _expose(content, some, scratch)
        sums = _sums(Runner(scratch), some, data, with_covariance)
        scratch.unlink()
        for layer in some:
            yield sums.pop(layer.operator.index).input_statistics()


def _batches(layers: Sequence[Layer], with_covariance: bool) -> Iterator[list[Layer]]:
    some: list[Layer] = []
    for layer in layers:
        if some and with_covariance and sum(map(_covariance_bytes, [*some, layer])) > MAX_COVARIANCE_BYTES:
            yield some
            some = []
        some.append(layer)
    if some:
        yield some


def _covariance_bytes(layer: Layer) -> int:
    return 8 * layer.width**2 * len(layer.as_matrices(np.asarray(layer.weights.data))) if _is_covered(layer) else 0


def _is_covered(layer: Layer) -> bool:
    return layer.width <= MAX_WIDTH and not layer.is_scattered


class _Sum:
    """Sums over rows of one layer; a covariance is taken about the first rows' mean, which loses fewer digits."""

    def __init__(self, layer: Layer, calls: int, with_covariance: bool) -> None:
        self.layer, self.is_covered = layer, with_covariance and _is_covered(layer)
        self.rows = int(np.clip(ROWS_PER_INPUT * layer.width / calls, MIN_ROWS, MAX_ROWS))
        self._waiting: list[np.ndarray] = []
        self._count, self._origin = 0, np.zeros(0)
        self._first, self._second = np.zeros(0), np.zeros(0)

    def add(self, data: np.ndarray, seed: int) -> None:
        self._waiting.append(self.layer.input_patches(data, self.rows, seed))
        if sum(map(len, self._waiting)) >= MIN_ROWS:  # a product of few rows takes as long as one of many
            self._settle()

    def input_statistics(self) -> InputStatistics:
        if self._waiting:
            self._settle()
        offset = self._first / self._count
        covariance = None
        if self.is_covered:
            covariance = self._second / self._count - offset[:, :, np.newaxis] * offset[:, np.newaxis, :]
        return InputStatistics(self._origin + offset, covariance)

    def _settle(self) -> None:
        seen = np.concatenate(self._waiting)
        if not self._count:
            self._origin, (groups, width) = seen.mean(0), seen.shape[1:]
            self._first, self._second = np.zeros((groups, width)), np.zeros((groups, width, width * self.is_covered))
        about = (seen - self._origin).astype(np.float32)
        self._first += about.sum(0, dtype=np.float64)
        if self.is_covered:
            grouped = np.moveaxis(about, 1, 0)
            self._second += np.moveaxis(grouped, 1, 2) @ grouped
        self._count += len(seen)
        self._waiting.clear()


def _expose(content: bytes, layers: Sequence[Layer], target: Path) -> None:
    model = edit.unpack(content)
    edit.set_outputs(model, {str(layer.activation.index): layer.activation.index for layer in layers})
    edit.write(model, target)


def _sums(
    run: Runner, layers: Sequence[Layer], data: tuple[Samples, Sequence[int]], with_covariance: bool
) -> dict[int, _Sum]:
    samples, calls = data
    sums = {layer.operator.index: _Sum(layer, len(calls), with_covariance) for layer in layers}
    for call, arrays in zip(calls, samples.calls(calls), strict=True):
        answers = run(arrays)
        for one in sums.values():
            one.add(answers[str(one.layer.activation.index)], call)
    return sums
