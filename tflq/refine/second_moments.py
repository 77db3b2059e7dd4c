"""The second moments of the inputs of layers, E[x xᵀ], from which rounding knows what each error of a weight costs.

They are taken once, from the float32 file before any correction. In a file whose channels were scaled, they follow from
the factors of the channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from tflq.calibrate import Samples
from tflq.refine.fitted_layers import FittedLayers, FittedValues, save
from tflq.refine.input_statistics import InputStatistics, covariance_rows, has_covariance, input_statistics
from tflq.refine.weighted_ops import Layer, layers
from tflq.worker import ProgressCallback

MOMENT_PARTS = 4
"""The number of tasks for the second moments of one file. It is fixed, whatever the number of processors."""
MOMENT = "moment"
"""The kind of values in files: the second moment of a layer's inputs, float32 [groups, inputs, inputs]."""
WORK_OF_SMALL_LAYER = 1e9
"""The multiply-adds of a large layer that take as long as a small layer, which has many small steps."""


def fit_moments(
    report: ProgressCallback, float32: Path, data: tuple[Samples, Sequence[int]], part: tuple[int, Path]
) -> Path:
    """Write the second moments of the inputs of each layer, for one of MOMENT_PARTS parts of the layers.

    `data` holds the calibration samples, and the calls that are used. `part` is the number of the part, and the path to
    write to.
    """
    (number, target), content = part, float32.read_bytes()
    chosen = parts_of(list(layers(content)), MOMENT_PARTS)[number]
    inputs = input_statistics(content, chosen, data, target.with_suffix(".seen"))
    moments: dict[int, np.ndarray] = {}
    for done, (layer, statistics) in enumerate(zip(chosen, inputs, strict=True), 1):
        moment = second_moment_of(statistics)
        if moment is not None:
            moments[layer.operator.index] = moment.astype(np.float32)
        report(done, len(chosen))
    return save(target, {MOMENT: moments})


def parts_of(all_layers: Sequence[Layer], count: int) -> list[list[Layer]]:
    """Divide the layers into runs of about the same work, in the order of the file; some may be empty."""
    totals = list(accumulate(map(_work, all_layers), initial=0.0))
    parts: list[list[Layer]] = [[] for _ in range(count)]
    for layer, before, after in zip(all_layers, totals, totals[1:], strict=False):
        parts[min(int((before + after) / 2 / totals[-1] * count), count - 1)].append(layer)
    return parts


def _work(layer: Layer) -> float:
    """Return about how many multiply-adds the rounding of a layer takes, or would take in the same time."""
    width = layer.width if has_covariance(layer) else 0
    return WORK_OF_SMALL_LAYER + float(covariance_rows(width)) * width**2 + float(width) ** 3


def second_moment_of(statistics: InputStatistics) -> np.ndarray | None:
    """Return the second moment of the inputs, E[x xᵀ], [groups, inputs, inputs]; None if it is not known or finite.

    It is the Hessian of the paper of GPTQ. With the covariance in place of it, the error of the mean would be left to
    the bias. That is no better on unseen data, whose mean differs, and it needs a second fit for files without bias
    correction.
    """
    covariance, mean = statistics.covariance, statistics.mean
    if covariance is None or not np.isfinite(covariance).all():
        return None
    second_moment: np.ndarray = covariance + mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    return second_moment


@dataclass(frozen=True)
class SecondMoments:
    """The second moments of the layers of one float32 file."""

    files: tuple[Path, ...]
    """The files of `fit_moments`, from the file before its channels were scaled."""
    factors: tuple[Path, ...] = ()
    """The files of the factors of channels, in the order in which they were applied."""

    def of(self, chosen: Sequence[Layer]) -> list[np.ndarray | None]:
        """Return the second moment of the inputs of each layer, [groups, inputs, inputs]; None if it is not known."""
        scales = FittedLayers((), self.factors).load()
        return [self._of(layer, scales) for layer in chosen]

    def _of(self, layer: Layer, scales: FittedValues) -> np.ndarray | None:
        moment = self._stored(layer)
        if moment is None:
            return None
        factors = scales.scaled(np.ones(moment.shape[:2]), layer)
        scaled: np.ndarray = moment * factors[:, :, np.newaxis] * factors[:, np.newaxis, :]
        return scaled

    def _stored(self, layer: Layer) -> np.ndarray | None:
        name = f"{MOMENT} {layer.operator.index}"
        for file in self.files:
            with np.load(file, allow_pickle=False) as arrays:  # only the array that is asked for is read
                if name in arrays.files:
                    stored: np.ndarray = arrays[name]
                    return stored
        return None
