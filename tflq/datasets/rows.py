"""The rows of a dataset, and the inputs and outputs of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]
"""Column name → array or scalar; an image is uint8 [height, width, channels]."""
Sample = dict[str, np.ndarray]
"""Model input name → array of the model's dtype and of one sample's shape, without the batch dimension."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    """The shape, batch dimension first. A size of None can be any size. If the shape is None, the rank is open."""

    is_batched: bool = True
    """Whether the first dimension is the batch. If not, one call takes one sample, which is the whole tensor."""

    @property
    def batch(self) -> int | None:
        """The number of samples in one call; None if it can be any number."""
        return self.shape[0] if self.is_batched and self.shape else None if self.shape is None else 1

    @property
    def sample_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one sample; None if the rank is open."""
        return self.shape if self.shape is None or not self.is_batched else self.shape[1:]

    def call(self, samples: np.ndarray) -> np.ndarray:
        """Return the array of one call from samples [batch, ...]."""
        return samples if self.is_batched else samples[0]


def brackets(shape: Sequence[int | None]) -> str:
    """Return the shape as messages show it, such as [1, ?, ?, 3]."""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


class LazyRow(Mapping[str, Any]):
    """A row with columns that are computed at their first use, because a column may not be needed."""

    def __init__(self, columns: Mapping[str, Any], functions: Mapping[str, Callable[[], Any]]) -> None:
        self._columns = dict(columns)
        self._functions = functions

    def __getitem__(self, column: str) -> Any:
        if column not in self._columns and column in self._functions:
            self._columns[column] = self._functions[column]()
        return self._columns[column]

    def __contains__(self, column: object) -> bool:
        return column in self._columns or column in self._functions

    def __iter__(self) -> Iterator[str]:
        return iter({**self._functions, **self._columns})

    def __len__(self) -> int:
        return len({*self._functions, *self._columns})


class RandomRow(dict[str, Any]):
    """A row that is already a sample: it has the names, shapes and dtypes of the model's inputs."""
