from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from results import file, measured

from tflq import scores
from tflq.evaluate.record import Record
from tflq.metrics.built_in import TopK
from tflq.metrics.channels import ChannelSums, channel_sums, shift_of
from tflq.metrics.fidelity import errors
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
        channels={"y": channels} if (channels := sums_of(answers, truths)) else {},
    )


def sums_of(answers: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> ChannelSums | None:
    shift = shift_of(np.asarray(answers[0]))
    parts = [channel_sums(np.asarray(f), np.asarray(q), shift, None) for f, q in zip(truths, answers, strict=True)]
    return functools.reduce(ChannelSums.joined, parts) if None not in parts else None


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


LIMITS = Gates()


def verdicts(floats: np.ndarray, answers: np.ndarray, limits: Gates = LIMITS) -> dict[str, str]:
    return {low.name: low.verdict for low in scores.low_outputs(limits, record(answers, floats), ())}


class TestLowOutputs:
    FLOATS = np.random.default_rng(0).normal(5, 1, (40, 1, 3))
    NOISE = np.random.default_rng(1).normal(0, 1, (40, 1, 3))

    @pytest.mark.parametrize(("noise", "verdict"), [(0.1, {}), (0.5, {"y": "poor"}), (1.5, {"y": "broken"})])
    def test_are_judged_by_the_deviation_from_the_mean(self, noise: float, verdict: dict[str, str]) -> None:
        """The output itself is five times as large, so that its SQNR is 14 dB higher."""
        assert verdicts(self.FLOATS, self.FLOATS + noise * self.NOISE) == verdict

    def test_have_limits_of_the_recipe(self) -> None:
        answers = self.FLOATS + 0.5 * self.NOISE
        assert verdicts(self.FLOATS, answers, Gates(poor_below_db=5)) == {}
        assert verdicts(self.FLOATS, answers, Gates(broken_below_db=7)) == {"y": "broken"}
        assert verdicts(self.FLOATS, answers, Gates(poor_below_db=None, broken_below_db=None)) == {}

    def test_say_how_far_they_are(self) -> None:
        (poor,) = scores.low_outputs(LIMITS, record(self.FLOATS * 0.95 + 0.5 * self.NOISE, self.FLOATS), ())
        pattern = r"is far from the float32 file's output: the error is \d+% as large as it varies"
        assert re.fullmatch(rf"{pattern} \(SQNR \d\.\d dB, below 10 dB\)", poor.in_words)

    def test_that_hardly_vary_are_judged_as_they_are(self) -> None:
        floats = 5 + 0.001 * self.FLOATS
        assert verdicts(floats, floats + 0.01 * self.NOISE) == {}
        assert verdicts(floats, floats + 3 * self.NOISE) == {"y": "poor"}

    def test_of_few_samples_are_judged_as_they_are(self) -> None:
        assert verdicts(self.FLOATS[:9], self.FLOATS[:9] + self.NOISE[:9]) == {}
        assert verdicts(self.FLOATS[:9], -self.FLOATS[:9]) == {"y": "broken"}

    def test_are_not_decisions_in_whole_numbers(self) -> None:
        floats, answers = np.eye(3)[[0, 1, 2, 0] * 10][:, np.newaxis], np.eye(3)[[0, 1, 2, 1] * 10][:, np.newaxis]
        assert verdicts(floats, answers) == {}

    def test_are_not_those_whose_metric_passed(self) -> None:
        far = record(self.FLOATS + 3 * self.NOISE, self.FLOATS)
        assert list(scores.low_outputs(LIMITS, far, ["y"])) == []


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


@pytest.mark.parametrize(
    ("limit", "verdicts"), [(0, [False]), (1, [False]), (2, [True]), (None, [])], ids=["0", "1", "2", "none"]
)
def test_dead_channels_fail_their_gate(limit: int | None, verdicts: list[bool]) -> None:
    figures = measured(0.97, 21.5)
    (output,) = figures.fidelity.values()
    assert output.channels is not None
    dead = replace(output, channels=replace(output.channels, dead=(3, 5)))
    gates = Gates(max_dead_channels=limit)
    found = scores.gates(gates, file("int8", 1000, "int8"), 0.5, replace(figures, fidelity={"logits": dead}))
    assert [(gate.passed, gate.measured) for gate in found] == [(passed, 2.0) for passed in verdicts]
    assert found == () or found[0].name == "max_dead_channels"


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
