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


Method = Literal["auto", "minmax", "mse"] | Percentile
SPANNING: tuple[Method, ...] = ("auto", "minmax")
"""Those that leave out no value, as long as nothing else has proved itself."""


Counting = Literal["few", "all", "weighted"]
"""A few calls, which show what clipping would do; all; or all, each weighted by how small its values are."""


class Calibration(Strict):
    """The samples that the ranges of activations are taken from."""

    dataset: Dataset
    samples: SampleCount = Field(200, description="How many rows, or `all`; fewer where the dataset has fewer.")
    seed: Seed = Field(0, description="Which rows: a seeded sample, or `first` for the first in order.")
    ranges: Annotated[Method, or_words("{percentile: 99.99}", "auto", "minmax", "mse")] = Field(
        "auto",
        description="What of an activation's values its integers span: minmax, all of them; or all but the rarest at"
        " either end; or mse, the part with the least mean squared error of quantization. auto: mse where a variant's"
        " bias_correction is auto, its activations are int8, and calibration samples that are held back come out nearer"
        " to the float model; else minmax.",
    )
    cache: bool = Field(True, description="Keep the float model and its ranges for the next run; see tflq cache.")

    @property
    def counting(self) -> Counting:
        """Which calls' values are counted for it, and how."""
        return "few" if self.ranges in SPANNING else "weighted" if self.ranges == "mse" else "all"
