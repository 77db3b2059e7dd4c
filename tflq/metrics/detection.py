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
from tflq.metrics.non_maximum_suppression import Detections, NonMaximumSuppression
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
    scores: str = Field(
        description="The output with the scores: one for each detection, or one for each class of it. If it is that of"
        " `boxes`, the scores follow the four numbers of the box."
    )
    classes: str | None = Field(
        None, description="The output with the classes. Without it, the class is the place of the highest score."
    )
    count: str | None = Field(None, description="The output with the number of detections. Without it, all count.")
    detections_last: bool = Field(
        False,
        description="Whether boxes and scores are (1, numbers, detections) in place of (1, detections, numbers), as in"
        " some YOLO models.",
    )
    nms: NonMaximumSuppression | None = Field(
        None, description="`{}` has all defaults. Without this key, all boxes count."
    )
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
        found = self._detections(outputs)
        truth, wanted = self._objects(np.asarray(boxes), np.asarray(classes))
        bits = 2.0 ** np.arange(len(THRESHOLDS[self.detection]))
        triples = [np.zeros((0, 3))]
        for class_ in np.unique(np.concatenate([found.classes, wanted])):
            ours, theirs = np.flatnonzero(found.classes == class_), truth[wanted == class_]
            best = found.take(ours[np.argsort(-found.scores[ours], kind="stable")][:MAX_DETECTIONS])
            right = matches(intersection_over_union(best.boxes, theirs), THRESHOLDS[self.detection])
            triples.append(np.stack([best.classes, best.scores, right @ bits], 1))
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
        """Yield what is odd about the answers of the float32 file. `rows`: its statistics, [samples, k].

        It finds next to nothing, or its boxes look like those of a model without non-maximum suppression.
        """
        value = value_of(self, rows)
        if not value >= MIN_PRECISION:
            yield (
                f"{self.name} of the float32 file is {value:.4f}: check the keys box_format, label_box_format,"
                " label_size, class_offset, detections_last and nms.score of the metric, and which output is which"
            )
        detections = rows.reshape(len(rows), -1, 3)[..., 1] > 0  # padding has a score of 0
        if not self.nms and not self.classes and detections.sum(1).mean() >= MAX_DETECTIONS:
            yield (
                f"the float32 file answers {MAX_DETECTIONS} boxes or more for each sample: if the model has no"
                f" non-maximum suppression, add `nms: {{}}` to the metric, or {self.name} counts them as wrong"
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

    def _detections(self, outputs: Mapping[str, np.ndarray]) -> Detections:
        """Return the detections that count. Those that are not finite and those of a class below 0 do not."""
        boxes, scores = self._boxes_and_scores(outputs)
        if self.nms and self.nms.per_class and not self.classes:  # a detection for each class of a box
            box, classes = np.indices(scores.shape).reshape(2, -1)
            scores = scores.reshape(-1)
        else:
            box, classes = np.arange(len(boxes)), scores.argmax(1)
            scores = scores.max(1)
        if self.classes:
            classes = np.rint(outputs[self.classes].reshape(-1))
        count = int(outputs[self.count].reshape(-1)[0]) if self.count else len(boxes)
        is_used = (box < count) & np.isfinite(boxes).all(1)[box] & np.isfinite(scores) & np.isfinite(classes)
        is_used &= (classes >= 0) & (classes + self.class_offset >= 0)
        classes = classes[is_used].astype(np.float64) + self.class_offset
        found = Detections(corners(boxes, self.box_format)[box[is_used]], scores[is_used], classes)
        return self.nms.kept(found) if self.nms else found

    def _boxes_and_scores(self, outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes, [detections, 4], and a score for each of their classes, [detections, classes]."""
        boxes, scores = (outputs[name].astype(np.float64) for name in (self.boxes, self.scores))
        if self.detections_last:
            boxes, scores = (each.swapaxes(1, -1) if each.ndim > 2 else each for each in (boxes, scores))
        if self.boxes == self.scores:
            boxes, scores = boxes[..., :4], boxes[..., 4:]
        number = boxes.size // 4
        width = scores.size // number if number and not self.classes else 1
        is_table = scores.size == number * width and (width == 1 or scores.shape[-1] == width > 0)
        if boxes.shape[-1:] != (4,) or not is_table or (self.classes and outputs[self.classes].size != number):
            raise DatasetError(f"evaluation.metric: {self._expected(outputs)}")
        return boxes.reshape(number, 4), scores.reshape(number, width)

    def _expected(self, outputs: Mapping[str, np.ndarray]) -> str:
        given = ", ".join(f"{key} {outputs[name].shape}" for key, name in self.outputs.items())
        form = "(1, {}, detections)" if self.detections_last else "(1, detections, {})"
        if self.boxes == self.scores:
            return f"the outputs are {given}; one output with boxes and scores should be {form.format('4 + classes')}"
        return (
            f"the outputs are {given}; boxes should be {form.format(4)}, classes (1, detections), and scores"
            f" (1, detections), or {form.format('classes')} without classes"
        )

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
