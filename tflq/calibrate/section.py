"""The recipe's `calibration`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tflq.datasets import Dataset
from tflq.strict import Strict, or_words

SampleCount = Annotated[PositiveInt | Literal["all"], or_words("a whole number above 0", "all")]
Seed = Annotated[NonNegativeInt | Literal["first"], or_words("a whole number from 0", "first")]


class Percentile(Strict):
    """Ranges that leave out the rarest values."""

    percentile: Annotated[float, Field(gt=50, le=100)] = Field(description="Of all values of a tensor, such as 99.99.")


Method = Literal["minmax", "mse"] | Percentile
Ranges = Literal["auto"] | Method
"""auto begins with minmax, and leaves it to what is seen on samples held back."""


Counting = Literal["few", "all", "weighted"]
"""A few calls, which show what clipping would do; all; or all, each weighted by how small its values are."""


class Calibration(Strict):
    """The samples that the ranges of activations are taken from."""

    dataset: Dataset
    samples: SampleCount = Field(200, description="How many rows, or `all`; fewer where the dataset has fewer.")
    seed: Seed = Field(0, description="Which rows: a seeded sample, or `first` for the first in order.")
    ranges: Annotated[Ranges, or_words("{percentile: 99.99}", "auto", "minmax", "mse")] = Field(
        "auto",
        description="What of an activation's values its integers span: minmax, all of them; or all but the rarest at"
        " either end; or mse, what has the least mean squared error of quantization, as the activation function behind"
        " it leaves that. auto: mse for int8 activations, where calibration samples that are held back come out nearer"
        " to the float model so, and neither headroom is given nor bias_correction off; else minmax.",
    )
    cache: bool = Field(True, description="false: the same as `cache: false` at the top of the recipe.")

    @property
    def method(self) -> Method:
        """What ranges are found by before anything is tried."""
        return "minmax" if self.ranges == "auto" else self.ranges

    @property
    def counting(self) -> Counting:
        """Which calls' values are counted for it, and how."""
        return "few" if self.method == "minmax" else "weighted" if self.method == "mse" else "all"
