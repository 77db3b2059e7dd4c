"""Fit each layer to calibration samples: find the mean of its inputs, and round its weights by GPTQ.

Both are fitted once and kept in files. Each combination of corrections is then made from them without a further run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np

from tflq.calibrate import Samples
from tflq.flatbuffer import edit, read
from tflq.refine.gptq import gptq_round, round_to_nearest
from tflq.refine.input_statistics import InputStatistics, covariance_rows, has_covariance, input_statistics
from tflq.refine.weighted_ops import GROUPED, Layer, WeightGranularity, layers
from tflq.worker import ProgressCallback

PARTS, MEAN_PARTS = 4, 2
"""The numbers of tasks for the weights and the means of one file. They are fixed, whatever the number of processors."""
WORK_OF_SMALL_LAYER = 1e9
"""The multiply-adds of a large layer that take as long as a small layer, which has many small steps."""


@dataclass(frozen=True)
class FittedValues:
    """The values of `FittedLayers`, by the index of the op."""

    means: Mapping[int, np.ndarray] = field(default_factory=dict)
    """The mean of the inputs, float64 [groups, inputs]"""
    factors: Mapping[int, np.ndarray] = field(default_factory=dict)
    """The factors of equalized channels by the index of the activation, float64 [channels]"""
    steps: Mapping[int, np.ndarray] = field(default_factory=dict)
    """The integers of the weights by GPTQ, int8 [groups, outputs, inputs]"""
    errors: Mapping[int, float] = field(default_factory=dict)
    """The mean squared error that GPTQ's weights add to the outputs, in units of that of weights rounded to nearest."""

    def mean(self, layer: Layer) -> np.ndarray | None:
        """Return the mean of the layer's inputs, [groups, inputs]; None if it is not known."""
        mean, factor = self.means.get(layer.operator.index), self.factors.get(layer.activation.index)
        if mean is None or factor is None:
            return mean
        by_input = np.tile(factor, mean.shape[1] // len(factor)) if layer.operator.type != GROUPED else factor[:, None]
        scaled: np.ndarray = mean * by_input
        return scaled


@dataclass(frozen=True)
class FittedLayers:
    """The files with the fitted values of the layers of one float32 file."""

    means: tuple[Path, ...]
    """The files of `fit_means`: the means of the inputs before equalization."""
    factors: Path | None = None
    """The factors of equalized channels; None if nothing is equalized."""
    rounded: tuple[Path, ...] = ()
    """The files of `fit_rounding`."""

    def load(self, with_rounding: bool) -> FittedValues:
        """Read the files; the rounded weights only if they are needed."""
        rounded = [_load(path) for path in self.rounded] if with_rounding else []
        return FittedValues(
            means={index: mean for path in self.means for index, mean in _by_index(_load(path), "mean").items()},
            factors=_by_index(_load(self.factors), "factor") if self.factors else {},
            steps={index: steps for part in rounded for index, steps in _by_index(part, "steps").items()},
            errors={index: float(error) for part in rounded for index, error in _by_index(part, "error").items()},
        )


def _load(path: Path) -> Mapping[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _by_index(arrays: Mapping[str, np.ndarray], kind: str) -> dict[int, np.ndarray]:
    names = (name.split() for name in arrays)
    return {int(index): arrays[f"{name} {index}"] for name, index in names if name == kind}


def save(path: Path, kind: str, arrays: Mapping[int, np.ndarray]) -> Path:
    """Write arrays of one kind, such as `mean`, by the index of the op or activation. Return the path."""
    named = {f"{kind} {index}": array for index, array in arrays.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **named)
    return path


def fit_means(
    report: ProgressCallback, float32: Path, data: tuple[Samples, Sequence[int]], part: tuple[int, Path]
) -> Path:
    """Write the mean of the inputs of each layer, for one of MEAN_PARTS parts of the layers.

    `data` holds the calibration samples, and the calls that are used. `part` is the number of the part, and the path to
    write to.
    """
    (number, target), content = part, float32.read_bytes()
    all_layers = list(layers(read(content), edit.unpack(content)))
    half = -(-len(all_layers) // MEAN_PARTS)
    chosen = all_layers[number * half : (number + 1) * half]
    statistics = input_statistics(content, chosen, data, target.with_suffix(".seen"), with_covariance=False)
    means = {layer.operator.index: each.mean for layer, each in zip(chosen, statistics, strict=True)}
    report(1, 1)
    return save(target, "mean", means)


def fit_rounding(
    report: ProgressCallback,
    float32: Path,
    data: tuple[Samples, Sequence[int]],
    granularity: WeightGranularity,
    part: tuple[int, Path],
) -> Path:
    """Write the weights that GPTQ rounds, for one of PARTS parts of the layers. Clustered weights are left out.

    `data` holds the calibration samples, and the calls that are used. `part` is the number of the part, and the path to
    write to.
    """
    (number, target), content = part, float32.read_bytes()
    all_layers = [layer for layer in layers(read(content), edit.unpack(content)) if not layer.is_clustered]
    chosen = _parts(all_layers)[number]
    arrays: dict[str, np.ndarray] = {}
    inputs = input_statistics(content, chosen, data, target.with_suffix(".seen"))
    for done, (layer, statistics) in enumerate(zip(chosen, inputs, strict=True), 1):
        second_moment = second_moment_of(statistics)
        if second_moment is not None:
            steps, error = _rounded(layer, granularity, second_moment)
            arrays |= {f"steps {layer.operator.index}": steps, f"error {layer.operator.index}": np.array(error)}
        report(done, len(chosen))
    with target.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return target


def _parts(all_layers: Sequence[Layer]) -> list[list[Layer]]:
    """Divide the layers into PARTS runs of about the same work, in the order of the file; some may be empty."""
    totals = list(accumulate(map(_work, all_layers), initial=0.0))
    parts: list[list[Layer]] = [[] for _ in range(PARTS)]
    for layer, before, after in zip(all_layers, totals, totals[1:], strict=False):
        parts[min(int((before + after) / 2 / totals[-1] * PARTS), PARTS - 1)].append(layer)
    return parts


def _work(layer: Layer) -> float:
    """Return about how many multiply-adds the rounding of a layer takes, or would take in the same time."""
    width = layer.width if has_covariance(layer) else 0
    return WORK_OF_SMALL_LAYER + float(covariance_rows(width)) * width**2 + float(width) ** 3


def _rounded(layer: Layer, granularity: WeightGranularity, second_moment: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the integers of the rounded weights, int8 [groups, outputs, inputs], and `FittedValues.errors`."""
    weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
    scales = granularity.scales(layer, weights)
    rounded = gptq_round(weights, scales, second_moment)
    before, after = (
        squared_error(each - weights, second_moment) for each in (round_to_nearest(weights, scales), rounded)
    )
    steps = np.rint(rounded / scales[:, :, np.newaxis]).astype(np.int8)
    return steps, after / before if before else 1.0


def squared_error(change: np.ndarray, second_moment: np.ndarray) -> float:
    """Return the mean squared error that a change of the weights adds to all outputs."""
    return float(np.vdot(change @ second_moment, change))


def second_moment_of(statistics: InputStatistics) -> np.ndarray | None:
    """Return the second moment of the inputs, E[x xᵀ], [groups, inputs, inputs]; None if it is not known or finite.

    It is the Hessian of the paper. With the covariance in place of it, the error of the mean would be left to the bias.
    That is no better on unseen data, whose mean differs, and it needs a second fit for files without bias correction.
    """
    covariance, mean = statistics.covariance, statistics.mean
    if covariance is None or not np.isfinite(covariance).all():
        return None
    second_moment: np.ndarray = covariance + mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    return second_moment
