"""`{random: {seed: 0}}`: random numbers in the model's input shapes, to try out speed and size without data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field, NonNegativeInt

from tflq.datasets.rows import RandomRow, Row, TensorSpec
from tflq.errors import DatasetError
from tflq.strict import Strict


class Seed(Strict):
    """The seed of random numbers."""

    seed: NonNegativeInt = Field(0, description="The same seed gives the same numbers.")


class Random(Strict):
    """Random rows without end. A row depends only on the seed and its index.

    Floats are uniform in [0, 1). 8-bit integers are uniform over all values. Wider integers are 0 or 1, because they
    are mostly ids or masks. Larger ids might be outside of the model's tables. `inputs` is not applied.
    """

    EXAMPLE: ClassVar[str] = ""

    random: Seed = Field(description="{}, or {seed: 1} for other numbers.")

    def __str__(self) -> str:
        return f"random numbers of seed {self.random.seed}"

    def files(self) -> list[Path]:
        """Return no files, because the rows depend on none."""
        return []

    def count(self) -> None:
        return None

    def rows(self, indices: Sequence[int], specs: Sequence[TensorSpec] = ()) -> Iterator[Row]:
        for index in indices:
            yield RandomRow(
                {spec.name: self._values(index, place, spec) for place, spec in enumerate(sorted(specs, key=_name))}
            )

    def _values(self, index: int, place: int, spec: TensorSpec) -> np.ndarray:
        shape = _sample_shape(spec)
        generator = np.random.Generator(np.random.PCG64([self.random.seed, index, place]))
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            return generator.random(shape, np.float32).astype(dtype)
        if dtype.itemsize == 1 and dtype.kind in "iu":
            return generator.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
        return generator.integers(0, 2, shape).astype(dtype)


def _name(spec: TensorSpec) -> str:
    return spec.name


def _sample_shape(spec: TensorSpec) -> tuple[int, ...]:
    shape = spec.sample_shape
    if shape is None or None in shape:
        raise DatasetError(
            f"random numbers need the shape of input {spec.name!r}, which the model leaves open:"
            f" give inputs.{spec.name}.shape"
        )
    return tuple(size for size in shape if size is not None)
