"""The recipe's `calibration`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tflq.datasets import Dataset
from tflq.strict import Strict, or_words

SampleCount = Annotated[PositiveInt | Literal["all"], or_words("a whole number above 0", "all")]
Seed = Annotated[NonNegativeInt | Literal["first"], or_words("a whole number from 0", "first")]


class Percentile(Strict):
    """Ranges without the rarest values."""

    percentile: Annotated[float, Field(gt=50, le=100)] = Field(
        description="Percentile of all values of an activation that is the upper end of its range, such as 99.99. The"
        " lower end is its mirror image, such as 0.01."
    )


Method = Literal["minmax", "mse"] | Percentile
Ranges = Literal["auto"] | Method
"""With auto, ranges are minmax at first. Hold-out samples decide later whether another method is nearer."""


Counting = Literal["few", "all", "weighted"]
"""few: the values of a few calls are counted, which show the effect of clipping. all: the values of all calls are.

weighted: the values of all calls are counted, and a call with small values has more weight.
"""


class Calibration(Strict):
    """The samples that the ranges of activations are computed from."""

    dataset: Dataset
    samples: SampleCount = Field(200, description="Number of rows, or `all`. A smaller dataset is used whole.")
    seed: Seed = Field(
        0, description="Which rows: the seed of a random sample, or `first` for the first rows in order."
    )
    ranges: Annotated[Ranges, or_words("{percentile: 99.99}", "auto", "minmax", "mse")] = Field(
        "auto",
        description="How the range of an activation is chosen. `minmax`: all values. `{percentile: 99.99}`: without the"
        " rarest values at either end. `mse`: least squared error after the next activation function. `auto`: for int8,"
        " minmax, mse or a percentile, whichever is nearest on hold-out calibration samples. It is minmax for int16, if"
        " `headroom` is set, or if `bias_correction` is off.",
    )
    cache: bool = Field(True, description="`false`: the same as `cache: false` at the top of the recipe.")

    @property
    def method(self) -> Method:
        """The method of the first ranges, before anything is compared on hold-out samples."""
        return "minmax" if self.ranges == "auto" else self.ranges

    @property
    def counting(self) -> Counting:
        """The way in which the values of the calls are counted for that method."""
        return "few" if self.method == "minmax" else "weighted" if self.method == "mse" else "all"
