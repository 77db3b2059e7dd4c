"""The section `evaluation` of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tflq.calibrate import SampleCount, Seed
from tflq.datasets import Dataset
from tflq.metrics import METRIC_NAMES, BuiltIn, Custom, Metric, built_in
from tflq.strict import Strict, or_words


class Evaluation(Strict):
    """The samples that every file is measured on, and the metric."""

    dataset: Dataset
    label: str | None = Field(None, description="The column of the dataset that holds the label.")
    output: str | None = Field(
        None, description="The model output that the metric uses. Needed if the model has several."
    )
    metric: Annotated[BuiltIn | Custom, or_words('{python: "module:function"}', *METRIC_NAMES)] | None = Field(
        None, description="The metric. Without one, only fidelity to the float32 file is measured."
    )
    samples: SampleCount = Field(
        2000,
        description="Number of rows, or `all`. A smaller dataset is used whole. With a metric, every file is measured"
        " on all of them. Without a metric, a number is a limit: measuring a file stops when the 95 % interval of each"
        " SQNR is within ±0.5 dB, that of each agreement within ±2 points, and no gate is undecided. A file with many"
        " int16 ops stops sooner, because they are slow. Every file is measured on 20 samples or more, if there are as"
        " many. `all` measures every file on all rows.",
    )
    seed: Seed = Field(
        0, description="Which rows: the seed of a random sample, or `first` for the first rows in order."
    )

    @property
    def scoring(self) -> Metric | None:
        """The metric, or None."""
        return built_in(self.metric) if isinstance(self.metric, str) else self.metric
