"""The answers of a variant, as the report shows them."""

from __future__ import annotations

import math

import numpy as np

from tflq.evaluate.answers import NO_CLASS, Answers
from tflq.result import AnswersReport, Confusion, Disagreement

MAX_CLASSES = 20
"""The most classes in a confusion matrix."""
MAX_DISAGREEMENTS = 8
MAX_POINTS = 400


def answers_report(answers: Answers) -> AnswersReport:
    """Return the answers in bounded size, whatever the number of samples is."""
    if not len(answers.rows) or (answers.classes == NO_CLASS).any():
        return AnswersReport(len(answers.rows), 0, None, (), _points(answers), answers.output)
    differ = answers.classes[:, 0] != answers.classes[:, 1]
    matrix, samples = _confusion(answers), _disagreements(answers, differ)
    return AnswersReport(len(answers.rows), int(differ.sum()), matrix, samples, (), answers.output)


def _points(answers: Answers) -> tuple[tuple[float, float], ...]:
    pairs = np.moveaxis(answers.values, 1, 2).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(1)]
    step = max(math.ceil(len(pairs) / MAX_POINTS), 1)
    return tuple((f, q) for f, q in pairs[::step].tolist())


def _confusion(answers: Answers) -> Confusion:
    has_labels = bool(np.isfinite(answers.labels).all())
    float32, variant = answers.classes.T
    labels = answers.labels.astype(np.int64) if has_labels else float32
    occurring, places = np.unique(np.concatenate([labels, float32, variant]), return_inverse=True)
    label_places, float32_places, variant_places = np.split(places.reshape(-1), 3)
    changes = np.bincount(places.reshape(-1), np.tile(float32 != variant, 3), minlength=len(occurring))
    shown = np.sort(np.argsort(-changes, kind="stable")[:MAX_CLASSES])

    def counts(answered: np.ndarray) -> tuple[tuple[int, ...], ...]:
        matrix = np.zeros((len(occurring), len(occurring)), np.int64)
        np.add.at(matrix, (label_places, answered), 1)
        return tuple(tuple(row) for row in matrix[np.ix_(shown, shown)].tolist())

    return Confusion(
        tuple(occurring[shown].tolist()),
        len(occurring) - len(shown),
        counts(float32_places) if has_labels else None,
        counts(variant_places),
    )


def _disagreements(answers: Answers, differ: np.ndarray) -> tuple[Disagreement, ...]:
    """Return the samples with the lowest rows. Pictures are kept of the same ones."""
    places = np.flatnonzero(differ)
    places = places[np.argsort(answers.rows[places], kind="stable")][:MAX_DISAGREEMENTS]
    return tuple(_disagreement(answers, place) for place in places.tolist())


def _disagreement(answers: Answers, place: int) -> Disagreement:
    row, label = int(answers.rows[place]), float(answers.labels[place])
    (float32, variant), scores = answers.classes[place].tolist(), answers.values[place, :, 0].tolist()
    number = int(label) if math.isfinite(label) else None
    return Disagreement(row, number, (float32, variant), (scores[0], scores[1]), answers.pictures.get(row))
