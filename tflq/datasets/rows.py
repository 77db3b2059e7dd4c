"""What a dataset yields, and what a model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]
"""Column name → array or scalar; a picture is uint8 [height, width, channels]."""
Sample = dict[str, np.ndarray]
"""Model input name → array of the model's dtype and of one sample's shape, without the batch dimension."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    """The batch comes first. None stands for any size; for the whole, any number of dimensions."""

    is_batched: bool = True
    """Whether the first dimension counts samples; else one call takes one sample, which is the whole tensor."""

    @property
    def batch(self) -> int | None:
        """Samples that one call takes; None where any number will do."""
        return self.shape[0] if self.is_batched and self.shape else None if self.shape is None else 1

    @property
    def sample_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one sample; None where it may have any number of dimensions."""
        return self.shape if self.shape is None or not self.is_batched else self.shape[1:]

    def call(self, samples: np.ndarray) -> np.ndarray:
        """Samples, [batch, ...], as the array of one call."""
        return samples if self.is_batched else samples[0]


def brackets(shape: Sequence[int | None]) -> str:
    """A shape as messages show it: [1, ?, ?, 3]."""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


class LazyRow(Mapping[str, Any]):
    """A row, some of whose columns are made when they are first asked for, since nobody may ask."""

    def __init__(self, columns: Mapping[str, Any], made: Mapping[str, Callable[[], Any]]) -> None:
        self._columns = dict(columns)
        self._made = made

    def __getitem__(self, column: str) -> Any:
        if column not in self._columns and column in self._made:
            self._columns[column] = self._made[column]()
        return self._columns[column]

    def __contains__(self, column: object) -> bool:
        return column in self._columns or column in self._made

    def __iter__(self) -> Iterator[str]:
        return iter({**self._made, **self._columns})

    def __len__(self) -> int:
        return len({*self._made, *self._columns})


class RandomRow(dict[str, Any]):
    """A row that is a sample already: it has the model's own names, shapes and dtypes."""
