"""The section `evaluation` of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from tflq.calibrate.schema import SampleCount, Seed
from tflq.datasets import Dataset, Row
from tflq.metrics.detection import Detection
from tflq.metrics.metric import SampleMetric
from tflq.metrics.metric_list import METRIC_EXAMPLES, METRIC_NAMES, BuiltIn, MetricWithKeys, built_in
from tflq.strict import Strict, or_words

*_OTHERS, _LAST = METRIC_EXAMPLES


class Evaluation(Strict):
    """The samples that every file is measured on, and the metric."""

    dataset: Dataset
    label: str | None = Field(None, description="The column of the dataset that holds the label.")
    output: str | None = Field(
        None, description="The model output that the metric uses. Needed if the model has several."
    )
    metric: Annotated[BuiltIn | MetricWithKeys, or_words(_LAST, *METRIC_NAMES, *_OTHERS)] | None = Field(
        None,
        description="The metric; docs/metrics.md defines each. Without one, only fidelity to the float32 file is"
        " measured.",
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
    def scoring(self) -> SampleMetric | Detection | None:
        """The metric, or None."""
        return built_in(self.metric) if isinstance(self.metric, str) else self.metric

    @property
    def columns(self) -> dict[str, str]:
        """Key of the recipe → the column of the dataset that the metric compares with."""
        found = {} if self.label is None else {"label": self.label}
        if isinstance(self.metric, Detection):
            found["metric.label_boxes"] = self.metric.label_boxes
        return found

    def scored(self, names: Sequence[str]) -> list[str]:
        """Return the outputs that the metric compares, of all `names`; all of them without a metric."""
        if self.metric is None:
            return list(names)
        if isinstance(self.metric, Detection):
            return list(dict.fromkeys(self.metric.outputs.values()))
        return [self.output or names[0]]

    def statistics(self, answer: Mapping[str, np.ndarray], row: Row, output: str) -> np.ndarray | None:
        """Return the statistics of the metric for one sample. `output`: the output if the metric names none.

        Return None without a metric. Raise DatasetError if the label does not fit.
        """
        metric = self.scoring
        if metric is None or self.label is None:
            return None
        if isinstance(metric, Detection):
            return metric.statistics_of(answer, row[metric.label_boxes], row[self.label])
        return metric.statistics(answer[output], np.asarray(row[self.label]))
