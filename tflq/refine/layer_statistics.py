"""The statistics of the inputs of all layers of a float32 file, in files: their means and their second moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np

from tflq.calibrate.samples import Samples
from tflq.refine.fitted_layers import MEAN, save
from tflq.refine.input_statistics import ENOUGH_ROWS, covariance_rows, has_covariance, input_statistics
from tflq.refine.second_moments import MOMENT, second_moment_of
from tflq.refine.weighted_ops import Layer, layers
from tflq.worker import ProgressCallback

STATISTICS_PARTS = 2
"""The number of tasks for the statistics of one file. It is fixed, whatever the number of processors.

Each task runs the model up to its last layer, so more tasks would run most of the model more often.
"""
MANY_CALLS = 48
"""The number of calls for which the work is estimated. The parts must not depend on the real number of calls."""
WORK_OF_LAYER, WORK_OF_VALUE = 1e8, 250.0
"""The multiply-adds that take as long as the steps for each layer, and as those for each value of its inputs."""


@dataclass(frozen=True)
class LayerStatistics:
    """The files with the statistics of some layers of a float32 file."""

    means: Path
    moments: Path | None
    """The file of the second moments; None if they were not requested."""


def fit_statistics(
    report: ProgressCallback,
    float32: Path,
    data: tuple[Samples, Sequence[int]],
    with_moments: bool,
    part: tuple[int, Path],
) -> LayerStatistics:
    """Write the statistics of the inputs of each layer, for one of STATISTICS_PARTS parts of the layers.

    `data` holds the calibration samples, and the calls that are used. The means are the same with second moments and
    without. `part` is the number of the part, and the path to write to.
    """
    (number, target), content = part, float32.read_bytes()
    chosen = parts_of(list(layers(content)), STATISTICS_PARTS, _work)[number]
    inputs = input_statistics(content, chosen, data, target.with_suffix(".seen"), with_moments)
    means, moments = dict[int, np.ndarray](), dict[int, np.ndarray]()
    for done, (layer, statistics) in enumerate(zip(chosen, inputs, strict=True), 1):
        means[layer.operator.index] = statistics.mean
        if (moment := second_moment_of(statistics)) is not None:
            moments[layer.operator.index] = moment
        report(done, len(chosen))
    second = save(target.with_suffix(".moments"), {MOMENT: moments}) if with_moments else None
    return LayerStatistics(save(target, {MEAN: means}), second)


def parts_of(all_layers: Sequence[Layer], count: int, work: Callable[[Layer], float]) -> list[list[Layer]]:
    """Divide the layers into runs of about the same work, in the order of the file; some may be empty.

    `work` returns that of a layer, in any unit.
    """
    totals = list(accumulate(map(work, all_layers), initial=0.0))
    parts: list[list[Layer]] = [[] for _ in range(count)]
    for layer, before, after in zip(all_layers, totals, totals[1:], strict=False):
        parts[min(int((before + after) / 2 / totals[-1] * count), count - 1)].append(layer)
    return parts


def _work(layer: Layer) -> float:
    """Return about how many multiply-adds the statistics of a layer take, or would take in the same time."""
    positions = prod(map(abs, layer.activation.shape[1:-1])) * MANY_CALLS
    width, rows = layer.width, min(max(covariance_rows(layer.width), ENOUGH_ROWS), positions)
    products = min(covariance_rows(width), positions) * width if has_covariance(layer) else 0
    return WORK_OF_LAYER + layer.groups * width * float(rows * WORK_OF_VALUE + products)
