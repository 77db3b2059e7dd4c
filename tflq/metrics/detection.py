"""Mean average precision of object detection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tflq.errors import DatasetError
from tflq.metrics.average_precision import average_precision
from tflq.metrics.box_matching import MAX_DETECTIONS, BoxFormat, corners, intersection_over_union, matches
from tflq.metrics.metric import numbers, value_of
from tflq.strict import AsTuple, Strict

THRESHOLDS = {"map": np.linspace(0.5, 0.95, 10), "map50": np.array([0.5]), "map75": np.array([0.75])}
"""The IoU at which a detection is right; `map` is the mean over ten."""
MIN_PRECISION = 0.01
"""Below this, the float32 file finds next to nothing. A wrong key is more likely than such a model."""


class Detection(Strict):
    """Mean average precision over classes, as the COCO challenge defines it, without crowds and sizes of objects.

    The label is the column of the true classes. A class below 0 stands for no object.
    """

    EXAMPLE: ClassVar[str] = "{detection: map, boxes: OUTPUT, …}"
    """The metric as the recipes of `tflq init` and messages show it."""
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = False
    is_right_or_wrong: ClassVar[bool] = False

    detection: Literal["map", "map50", "map75"] = Field(
        description="`map` is the mean over an IoU of 0.50, 0.55 … 0.95. `map50` and `map75` are of one IoU."
    )
    boxes: str = Field(description="The output with the boxes: four numbers for each detection.")
    scores: str = Field(description="The output with the scores: one for each detection, or one for each class of it.")
    classes: str | None = Field(
        None, description="The output with the classes. Without it, the class is the place of the highest score."
    )
    count: str | None = Field(None, description="The output with the number of detections. Without it, all count.")
    label_boxes: str = Field(description="The column of the dataset with the true boxes.")
    box_format: BoxFormat = Field(
        "yxyx",
        description="The order of the numbers of a box of the model. `xywh` begins with a corner, `cxcywh` with the"
        " centre.",
    )
    label_box_format: BoxFormat = Field("yxyx", description="The order of the numbers of a true box.")
    label_size: Annotated[tuple[float, float], AsTuple] = Field(
        (1.0, 1.0),
        description="Factors [y, x] for the true boxes, such as the size of the image in pixels, if these are relative"
        " and those of the model are not.",
    )
    class_offset: int = Field(0, description="Added to the classes of the model, so that they are those of the label.")

    @property
    def name(self) -> str:
        return self.detection

    @property
    def outputs(self) -> dict[str, str]:
        """Key → the output that it names."""
        keys = {"boxes": self.boxes, "scores": self.scores, "classes": self.classes, "count": self.count}
        return {key: name for key, name in keys.items() if name is not None}

    def statistics_of(self, outputs: Mapping[str, np.ndarray], boxes: Any, classes: Any) -> np.ndarray:
        """Return the statistics of one sample from its outputs and its label. Its length depends on the label.

        It has triples: class, score and matches of each detection, and class, NaN and number of the true boxes. Bit i
        of the matches says whether the detection is right at threshold i. Raise DatasetError if label and outputs do
        not fit.
        """
        found, scores, answers = self._detections(outputs)
        truth, wanted = self._objects(np.asarray(boxes), np.asarray(classes))
        bits = 2.0 ** np.arange(len(THRESHOLDS[self.detection]))
        triples = [np.zeros((0, 3))]
        for class_ in np.unique(np.concatenate([answers, wanted])):
            ours, theirs = np.flatnonzero(answers == class_), truth[wanted == class_]
            best = ours[np.argsort(-scores[ours], kind="stable")][:MAX_DETECTIONS]
            right = matches(intersection_over_union(found[best], theirs), THRESHOLDS[self.detection])
            triples.append(np.stack([np.full(len(best), class_), scores[best], right @ bits], 1))
            triples.append(np.array([[class_, np.nan, len(theirs)]]))
        return np.concatenate(triples).reshape(-1)

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        draws = counts.reshape(-1, counts.shape[-1])
        each = [precision.mean(1) for precision in self._by_class(rows, draws)]
        if not each:
            return np.full(counts.shape[:-1], np.nan)
        occurs = np.isfinite(each)
        with np.errstate(invalid="ignore"):
            means = np.where(occurs, each, 0).sum(0) / occurs.sum(0)
        return np.asarray(means.reshape(counts.shape[:-1]))

    def doubts(self, rows: np.ndarray) -> Iterator[str]:
        """Yield a sentence if the float32 file finds next to nothing. `rows`: its statistics, [samples, k]."""
        value = value_of(self, rows)
        if not value >= MIN_PRECISION:
            yield (
                f"{self.name} of the float32 file is {value:.4f}: check the keys box_format, label_box_format,"
                " label_size and class_offset of the metric, and which output is which"
            )

    def _by_class(self, rows: np.ndarray, draws: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the average precision of each class, [draws, thresholds]; NaN in draws without an object of it."""
        triples = rows.reshape(len(rows), rows.shape[1] // 3, 3)
        sample, place = np.nonzero(np.isfinite(triples[..., 0]))
        class_, score, number = triples[sample, place].T
        is_truth = np.isnan(score)
        for each in np.unique(class_[is_truth & (number > 0)]):
            truth, ours = (np.flatnonzero((class_ == each) & kind) for kind in (is_truth, ~is_truth))
            ours = ours[np.argsort(-score[ours], kind="stable")]
            bits = number[ours].astype(np.int64)[:, np.newaxis] >> np.arange(len(THRESHOLDS[self.detection]))
            total = draws[:, sample[truth]] @ number[truth]
            yield average_precision((bits & 1).astype(bool), draws[:, sample[ours]], total)

    def _detections(self, outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the boxes, scores and classes of the detections. Those that are not finite are left out."""
        boxes, scores = outputs[self.boxes], outputs[self.scores].astype(np.float64)
        number = boxes.size // 4
        if self.classes:
            scores, classes = scores.reshape(-1), outputs[self.classes].astype(np.float64).reshape(-1)
        else:
            table = scores.reshape(number, -1) if number and scores.size % number == 0 else scores.reshape(1, -1)
            scores, classes = table.max(1, initial=-np.inf), table.argmax(1).astype(np.float64)
        if boxes.shape[-1:] != (4,) or not len(scores) == len(classes) == number:
            shapes = ", ".join(f"{key} {outputs[name].shape}" for key, name in self.outputs.items())
            raise DatasetError(
                f"evaluation.metric: the outputs are {shapes}; boxes should be (1, detections, 4), classes (1,"
                " detections), and scores (1, detections), or (1, detections, classes) without classes"
            )
        count = int(outputs[self.count].reshape(-1)[0]) if self.count else number
        finite = np.isfinite(boxes.reshape(-1, 4)).all(1) & np.isfinite(scores) & np.isfinite(classes)
        is_used = (np.arange(number) < count) & finite & (classes >= 0)
        found = corners(boxes, self.box_format)[is_used]
        return found, scores[is_used], np.rint(classes[is_used]) + self.class_offset

    def _objects(self, boxes: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wanted = numbers(classes).astype(np.float64)
        if boxes.size != 4 * wanted.size or (boxes.size and boxes.shape[-1] != 4):
            raise DatasetError(
                f"evaluation.metric: the label has {wanted.size} classes, so {self.label_boxes!r} should be"
                f" ({wanted.size}, 4), not {boxes.shape}"
            )
        y, x = self.label_size
        truth = corners(numbers(boxes), self.label_box_format) * (x, y, x, y)
        is_object = np.isfinite(wanted) & (wanted >= 0)
        return truth[is_object], wanted[is_object]
