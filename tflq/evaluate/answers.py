"""What the float32 file and a variant answer for each sample, and pictures of a few samples where they disagree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflq.datasets import Row, Sample
from tflq.evaluate.pictures import picture
from tflq.evaluate.plan import EvaluationPlan

VALUES = 4
"""The number of values of a regression that are kept of each sample, evenly spaced in the output."""
PICTURES = 8
"""The number of samples where the two disagree of which a picture is kept: those with the lowest rows."""
NO_CLASS = -1


@dataclass(frozen=True)
class Answers:
    """The answers of the float32 file and of one variant, in the order of the record's samples."""

    rows: np.ndarray
    """The row of each sample in the dataset, int64 [samples]."""
    labels: np.ndarray
    """The class or number of the label, float64 [samples]; NaN if it is neither."""
    classes: np.ndarray
    """The class of the float32 file and that of the variant, int64 [samples, 2]; NO_CLASS if there are no classes."""
    values: np.ndarray
    """The scores of these classes, or the first values of a regression, float64 [samples, 2, VALUES]."""
    pictures: Mapping[int, bytes]
    """Row → picture, as PNG or JPEG."""
    output: str
    """The name of the output that the classes and values are of."""

    def ordered(self, order: np.ndarray) -> Answers:
        """Return the answers in another order of samples."""
        values = self.values[order]
        return Answers(self.rows[order], self.labels[order], self.classes[order], values, self.pictures, self.output)


def joined(parts: Sequence[Answers]) -> Answers:
    """Return the answers of all parts, one part after the other."""

    def join(arrays: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(arrays))

    pictures = {row: data for part in parts for row, data in part.pictures.items()}
    return Answers(
        join(part.rows for part in parts),
        join(part.labels for part in parts),
        join(part.classes for part in parts),
        join(part.values for part in parts),
        {row: pictures[row] for row in sorted(pictures)[:PICTURES]},
        parts[0].output,
    )


class AnswerRecorder:
    """A recorder of the answers of one variant, sample by sample, in increasing order of the rows."""

    def __init__(self, plan: EvaluationPlan) -> None:
        metric = plan.evaluation.scoring
        self._label = plan.evaluation.label
        self._output, *_ = plan.evaluation.scored([spec.name for spec in plan.source.outputs])
        self._has_classes = metric is None or metric.is_right_or_wrong
        self._is_binary = metric is not None and metric.is_right_or_wrong
        self._found: list[tuple[int, float, tuple[int, int]]] = []
        self._values: list[tuple[np.ndarray, np.ndarray]] = []
        self._pictures: dict[int, bytes] = {}

    def add(self, numbered: tuple[int, Row], sample: Sample, truth: Sample, answer: Sample) -> None:
        """Add one sample: the number of its row and the row, its input arrays, and the outputs of both files."""
        number, row = numbered
        f, q = truth[self._output], answer[self._output]
        classes = self._class(f), self._class(q)
        label = _number(row[self._label]) if self._label else np.nan
        self._found.append((number, label, classes))
        self._values.append((_scores(f, classes[0]), _scores(q, classes[1])))
        if classes[0] != classes[1] and len(self._pictures) < PICTURES and (data := picture(sample)):
            self._pictures[number] = data

    def answers(self) -> Answers:
        """Return all answers so far."""
        rows, labels, classes = zip(*self._found, strict=True) if self._found else ((), (), ())
        return Answers(
            np.array(rows, np.int64),
            np.array(labels, np.float64),
            np.array(classes, np.int64).reshape(-1, 2),
            np.array(self._values, np.float64).reshape(-1, 2, VALUES),
            dict(self._pictures),
            self._output,
        )

    def _class(self, output: np.ndarray) -> int:
        if self._has_classes and output.ndim == 2 and output.shape[1] > 1:
            return int(output.argmax())
        return int(output.item() > 0.5) if self._is_binary and output.size == 1 else NO_CLASS


def _scores(output: np.ndarray, class_: int) -> np.ndarray:
    """Return the score of the class, or the values of a regression; missing values are NaN."""
    flat, found = output.reshape(-1), np.full(VALUES, np.nan)
    if class_ != NO_CLASS:
        found[0] = flat[class_ if flat.size > 1 else 0]
        return found
    kept = flat[:: max(flat.size // VALUES, 1)][:VALUES]
    found[: len(kept)] = kept
    return found


def _number(label: object) -> float:
    """Return the label as a number, the class of a one-hot label, or NaN."""
    flat = np.asarray(label).reshape(-1)
    if flat.dtype.kind not in "biuf" or not flat.size:
        return float("nan")
    return float(flat[0]) if flat.size == 1 else float(flat.argmax()) if np.isin(flat, (0, 1)).all() else float("nan")
