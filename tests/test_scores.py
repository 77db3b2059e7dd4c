from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from results import file, measured

from tflq import scores
from tflq.evaluate import Record
from tflq.metrics import TopK, errors
from tflq.recipe import Gates

RIGHT, WRONG = [1.0, 1.0], [0.0, 1.0]


def record(answers: Sequence[np.ndarray], truths: Sequence[np.ndarray], hits: Sequence[list[float]] = ()) -> Record:
    """What evaluation would have recorded of one output `y`."""
    distances = [float(np.abs(answer - answers[0]).max(initial=0)) for answer in answers]
    return Record(
        statistics=np.array(hits).reshape(len(answers), -1),
        errors={"y": np.array([errors(truth, answer) for truth, answer in zip(truths, answers, strict=True)])},
        agreement={},
        spread={"y": np.array(distances)},
        is_finite=np.array([bool(np.isfinite(answer).all()) for answer in answers]),
        was_calibrated_on=np.zeros(len(answers), bool),
    )


TRUTHS = [np.array([1.0, 2.0]), np.array([3.0, -1.0]), np.array([0.5, 0.25])]
BASE = record(TRUTHS, TRUTHS, [RIGHT, RIGHT, WRONG])


def test_a_file_that_answers_as_the_float32_file_is_not_suspicious() -> None:
    assert list(scores.suspicious_outputs(BASE, BASE)) == []


def test_nan_is_suspicious() -> None:
    (found,) = scores.suspicious_outputs(record([TRUTHS[0], TRUTHS[1] * np.nan, TRUTHS[2]], TRUTHS), BASE)
    assert (found.severity, found.message) == ("error", "outputs NaN or Inf on 1 of 3 samples")


def test_nan_of_the_float32_file_too_is_said() -> None:
    nan = record([truth * np.nan for truth in TRUTHS], TRUTHS)
    messages = [found.message for found in scores.suspicious_outputs(nan, nan)]
    assert "outputs NaN or Inf on 3 of 3 samples, and so does the float32 file" in messages


def test_the_same_answer_whatever_the_input_is_suspicious() -> None:
    (found,) = scores.suspicious_outputs(record([TRUTHS[0]] * 3, TRUTHS), BASE)
    assert (found.where, found.message) == (
        "output 'y'",
        "is the same for every sample, but the float32 file's output varies",
    )


def test_the_same_answer_is_right_where_the_float32_file_gives_it_too() -> None:
    constant = record([TRUTHS[0]] * 3, [TRUTHS[0]] * 3)
    assert list(scores.suspicious_outputs(constant, constant)) == []


def test_far_from_the_float32_file_is_a_warning() -> None:
    (found,) = scores.suspicious_outputs(record([truth * 0.5 for truth in TRUTHS], TRUTHS), BASE)
    assert (found.severity, found.where) == ("warning", "output 'y'")
    assert found.message == "is far from the float32 file's output: the error is 50% as large as it (SQNR 6.0 dB)"
    assert list(scores.suspicious_outputs(record([truth * 0.7 for truth in TRUTHS], TRUTHS), BASE)) == []


def test_answers_without_any_element_are_told_of_and_equal() -> None:
    """No division by their number."""
    empty = record([np.zeros((1, 0))] * 3, [np.zeros((1, 0))] * 3)
    (found,) = scores.suspicious_outputs(empty, empty)
    assert (found.severity, found.where) == ("warning", "output 'y'")
    assert found.message == "has no elements for any sample, so it was not compared"
    assert list(scores.source_mismatches(empty)) == []
    (output,) = scores.outputs(empty).values()
    assert (output.sqnr_db, output.mse, output.max_abs_error) == (None, 0.0, 0.0)


def test_one_sample_alone_tells_nothing_of_constancy() -> None:
    assert list(scores.suspicious_outputs(record(TRUTHS[:1], TRUTHS[:1]), BASE)) == []


def test_a_source_that_answers_otherwise_is_told() -> None:
    (found,) = scores.source_mismatches(record([truth + 1 for truth in TRUTHS], TRUTHS))
    assert found.severity == "error"
    assert found.message.startswith("of the float32 .tflite differs from the output of the source in TensorFlow: SQNR")


def test_a_source_that_differs_by_rounding_is_not() -> None:
    assert list(scores.source_mismatches(record([truth * (1 + 1e-6) for truth in TRUTHS], TRUTHS))) == []


@pytest.mark.parametrize(
    ("gates", "verdicts"),
    [
        (Gates(max_metric_drop=0.02), [("max_metric_drop", True)]),
        (Gates(max_metric_drop=0.0), [("max_metric_drop", False)]),
        (Gates(min_agreement=0.99), [("min_agreement", True)]),
        (Gates(min_agreement=0.995), [("min_agreement", False)]),
        (Gates(min_sqnr_db=21), [("min_sqnr_db", True)]),
        (Gates(min_sqnr_db=22), [("min_sqnr_db", False)]),
        (Gates(max_size_bytes=1000), [("max_size_bytes", True)]),
        (Gates(max_size_bytes=999), [("max_size_bytes", False)]),
        (Gates(max_size_ratio=0.5), [("max_size_ratio", True)]),
        (Gates(max_size_ratio=0.49), [("max_size_ratio", False)]),
        (Gates(), []),
    ],
    ids=str,
)
def test_gates(gates: Gates, verdicts: list[tuple[str, bool]]) -> None:
    found = scores.gates(gates, file("int8", 1000, "int8"), 0.5, measured(0.97, 21.5))
    assert [(gate.name, gate.passed) for gate in found] == verdicts


def test_an_equal_output_passes_any_sqnr() -> None:
    (gate,) = scores.gates(Gates(min_sqnr_db=60), file("float32", 1000, "float32"), 1.0, measured(0.98, None))
    assert (gate.passed, gate.measured) == (True, None)


def test_a_drop_within_its_interval_of_the_bar_is_not_settled() -> None:
    samples = 200
    base = record([TRUTHS[0]] * samples, [TRUTHS[0]] * samples, [RIGHT] * samples)
    other = record([TRUTHS[0] + 0.1] * samples, [TRUTHS[0]] * samples, [WRONG, WRONG, WRONG, *[RIGHT] * (samples - 3)])
    score = scores.score(TopK(1), base, other, 0.01)
    assert score.drop == pytest.approx(0.015)
    assert score.ci95[0] < 0.01 < score.ci95[1]
    variance = 5 / 202 - (3 / 202) ** 2
    assert score.samples_needed == pytest.approx(6.2 * variance / 0.005**2, abs=1)


def test_a_drop_far_from_the_bar_is_settled() -> None:
    assert scores.score(TopK(1), BASE, BASE, 0.01).samples_needed is None
