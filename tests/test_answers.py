"""The answers of a variant beside those of the float32 file, in the bounded form that report.html shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tflq.evaluate.answers import NO_CLASS, Answers, joined
from tflq.evaluate.pictures import LONGEST, picture
from tflq.stages.answers import MAX_CLASSES, MAX_DISAGREEMENTS, MAX_POINTS, answers_report


def answers(labels: list[float], float32: list[int], variant: list[int], first_row: int = 0) -> Answers:
    count = len(float32)
    values = np.full((count, 2, 4), np.nan)
    values[:, :, 0] = 0.5
    rows = np.arange(first_row, first_row + count)
    return Answers(rows, np.array(labels, float), np.array([float32, variant]).T, values, {first_row: b"picture"}, "y")


def test_matrices_count_labels_by_answers() -> None:
    report = answers_report(answers([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 0]))
    assert report.confusion is not None
    assert report.confusion.float32 == ((2, 0), (1, 1))
    assert report.confusion.variant == ((1, 1), (1, 1))
    assert (report.samples, report.disagreeing) == (4, 1)
    (one,) = report.disagreements
    assert (one.row, one.label, one.classes, one.scores, one.picture) == (1, 0, (0, 1), (0.5, 0.5), None)


def test_without_labels_rows_are_answers_of_the_float32_file() -> None:
    report = answers_report(answers([float("nan")] * 3, [0, 1, 1], [0, 1, 0]))
    assert report.confusion is not None
    assert report.confusion.float32 is None
    assert report.confusion.variant == ((1, 0), (1, 1))
    assert report.disagreements[0].label is None


def test_many_classes_and_samples_stay_bounded() -> None:
    float32, variant = list(range(100)), list(range(100))
    variant[40:60] = range(41, 61)
    report = answers_report(answers([float(label) for label in float32], float32, variant))
    assert report.confusion is not None
    assert set(report.confusion.classes) <= set(range(40, 61))
    assert (len(report.confusion.classes), report.confusion.left_out) == (MAX_CLASSES, 80)
    assert (report.disagreeing, len(report.disagreements)) == (20, MAX_DISAGREEMENTS)


def test_a_regression_has_points_instead() -> None:
    values = np.stack([np.arange(2000.0).reshape(-1, 4), np.arange(2000.0).reshape(-1, 4) + 0.5], 1)
    classes = np.full((500, 2), NO_CLASS)
    report = answers_report(Answers(np.arange(500), np.zeros(500), classes, values, {}, "y"))
    assert (report.confusion, report.disagreements) == (None, ())
    assert 300 <= len(report.points) <= MAX_POINTS
    assert {value - float32 for float32, value in report.points} == {0.5}


def test_joined_answers_keep_the_pictures_of_the_lowest_rows() -> None:
    parts = [answers([0.0], [0], [1], first_row) for first_row in range(20, 0, -1)]
    whole = joined(parts)
    assert list(whole.pictures) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert whole.ordered(np.argsort(whole.rows)).rows.tolist() == list(range(1, 21))


@pytest.mark.parametrize(
    ("shape", "size", "kind"),
    [
        ((8, 8, 1), (8, 8), "PNG"),
        ((300, 200, 3), (LONGEST * 2 // 3, LONGEST), "JPEG"),
        ((16,), None, None),
        ((8, 8, 5), None, None),
    ],
)
def test_pictures_are_small(shape: tuple[int, ...], size: tuple[int, int] | None, kind: str | None) -> None:
    data = picture({"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)})
    opened = Image.open(io.BytesIO(data)) if data else None
    assert (opened.size if opened else None, opened.format if opened else None) == (size, kind)
