"""Values that are fitted to the layers of a float32 file: the means of their inputs, and those of single corrections.

They are fitted once and kept in files. Each combination of corrections is then made from them without a further run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tflq.refine.weighted_ops import GROUPED, Layer

MEAN, FACTOR = "mean", "factor"
"""Kinds of values in files: the mean of a layer's inputs, and the factors of an activation's channels."""


@dataclass(frozen=True)
class FittedValues:
    """The values of `FittedLayers`."""

    arrays: Mapping[str, Mapping[int, np.ndarray]] = field(default_factory=dict)
    """By kind and by the index of the op. Kind `mean` is the mean of the inputs, float64 [groups, inputs]."""
    factors: tuple[Mapping[int, np.ndarray], ...] = ()
    """The factors of channels by the index of the activation, float64 [channels], for each rewriting of the model."""

    def of(self, kind: str) -> Mapping[int, np.ndarray]:
        """Return the arrays of that kind, by the index of the op."""
        return self.arrays.get(kind, {})

    def mean(self, layer: Layer) -> np.ndarray | None:
        """Return the mean of the layer's inputs, [groups, inputs]; None if it is not known."""
        mean = self.of(MEAN).get(layer.operator.index)
        return None if mean is None else self.scaled(mean, layer)

    def scaled(self, values: np.ndarray, layer: Layer) -> np.ndarray:
        """Return values of the layer's inputs, [groups, inputs], multiplied by the factors of their channels."""
        for factors in self.factors:
            if layer.activation.index in factors:
                values = _scaled(values, factors[layer.activation.index], layer)
        return values


def _scaled(mean: np.ndarray, factor: np.ndarray, layer: Layer) -> np.ndarray:
    by_input = np.tile(factor, mean.shape[1] // len(factor)) if layer.operator.type != GROUPED else factor[:, None]
    scaled: np.ndarray = mean * by_input
    return scaled


@dataclass(frozen=True)
class FittedLayers:
    """The files with the fitted values of the layers of one float32 file."""

    files: tuple[Path, ...]
    """The means of `fit_statistics`, from the file before its channels were scaled; and files of the corrections.

    Values of later files replace those of earlier ones.
    """
    factors: tuple[Path, ...] = ()
    """The files of the factors of channels, in the order in which they were applied."""

    def load(self) -> FittedValues:
        """Read the files."""
        arrays: dict[str, dict[int, np.ndarray]] = {}
        for path in self.files:
            for kind, by_index in _load(path).items():
                arrays.setdefault(kind, {}).update(by_index)
        return FittedValues(arrays, tuple(_load(path).get(FACTOR, {}) for path in self.factors))


def _load(path: Path) -> dict[str, dict[int, np.ndarray]]:
    """Return the arrays of the file by kind and index."""
    found: dict[str, dict[int, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            kind, index = name.split()
            found.setdefault(kind, {})[int(index)] = arrays[name]
    return found


def save(path: Path, arrays: Mapping[str, Mapping[int, np.ndarray]]) -> Path:
    """Write arrays by kind, such as `mean`, and by the index of the op or activation. Return the path."""
    named = {f"{kind} {index}": array for kind, by_index in arrays.items() for index, array in by_index.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **named)
    return path
