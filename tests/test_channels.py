"""The figures of an output channel by channel, on values made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tflq.metrics.channel_figures import Channels, centered_sqnr_db, channel_figures
from tflq.metrics.channels import ChannelSums, OutputRange, channel_sums, shift_of

RANDOM = np.random.default_rng(0)
BOXES, SCORES = RANDOM.uniform(0, 640, (40, 4)), RANDOM.uniform(0, 1, (40, 6))
HEAD = np.concatenate([BOXES, SCORES], 1)
WIDE = OutputRange(0.0, 640.0, 640 / 255)
UNIT = OutputRange(0.0, 255 / 256, 1 / 256)


def rounded(values: np.ndarray, of: OutputRange) -> np.ndarray:
    """What a file with that range answers."""
    return np.clip(np.rint(values / of.step) * of.step, of.low, of.high)


def sums(floats: np.ndarray, answers: np.ndarray, of: OutputRange | None = None) -> ChannelSums:
    """The sums over samples [samples, …], each with a batch of 1."""
    shift, total = shift_of(answers[:1]), None
    for f, q in zip(floats, answers, strict=True):
        each = channel_sums(f[np.newaxis], q[np.newaxis], shift, of)
        assert each is not None
        total = each if total is None else total.joined(each)
    assert total is not None
    return total


def figures(floats: np.ndarray, answers: np.ndarray, of: OutputRange | None = None) -> Channels:
    found = channel_figures(sums(floats, answers, of))
    assert found is not None
    return found


def test_the_sqnr_of_a_channel_is_that_of_its_deviation_from_its_mean() -> None:
    floats = RANDOM.normal(100, [1, 2, 3], (50, 7, 3))
    answers = floats + RANDOM.normal(0, 0.1, floats.shape)
    found = figures(floats, answers)
    expected = 10 * np.log10(floats.var((0, 1)) / np.square(floats - answers).mean((0, 1)))
    assert found.sqnr_db == pytest.approx(expected, abs=0.006)
    assert (found.count, found.worst, found.worst_sqnr_db) == (3, 0, found.sqnr_db[0])
    whole = 10 * np.log10(floats.var((0, 1)).sum() / np.square(floats - answers).mean((0, 1)).sum())
    assert centered_sqnr_db(sums(floats, answers)) == pytest.approx(whole, abs=0.006)


def test_scores_beside_boxes_in_pixels_are_dead() -> None:
    found = figures(HEAD, rounded(HEAD, WIDE), WIDE)
    assert found.dead == (4, 5, 6, 7, 8, 9)
    assert found.worst in found.dead


def test_sixteen_bits_keep_them() -> None:
    fine = OutputRange(-640.0, 640.0, 640 / 32767)
    assert figures(HEAD, rounded(HEAD, fine), fine).dead == ()


def test_a_few_samples_show_no_dead_channel() -> None:
    assert figures(HEAD[:9], rounded(HEAD[:9], WIDE), WIDE).dead == ()


def test_classes_that_do_not_occur_are_not_dead() -> None:
    """Each of their probabilities is below one step, which is what SOFTMAX writes in int8."""
    floats = np.full((40, 5), 1e-4) * RANDOM.uniform(0.1, 1, (40, 5))
    floats[:, 0] = RANDOM.uniform(0.1, 0.9, 40)
    floats[:, 1] = 1 - floats[:, 0]
    assert figures(floats, rounded(floats, UNIT), UNIT).dead == ()


def test_a_class_that_occurs_and_is_never_answered_is_dead() -> None:
    floats = RANDOM.uniform(0.1, 0.9, (40, 3))
    answers = rounded(floats, UNIT)
    answers[:, 2] = 0
    assert figures(floats, answers, UNIT).dead == (2,)


def test_features_of_every_size_are_not_dead() -> None:
    """Those below one step are not of another kind than those just above it."""
    floats = RANDOM.uniform(0, np.geomspace(1e-3, 10, 200), (40, 200))
    of = OutputRange(0.0, 10.0, 10 / 255)
    assert figures(floats, rounded(floats, of), of).dead == ()


def test_what_is_constant_in_float_is_not_dead() -> None:
    floats = HEAD.copy()
    floats[:, 4:] = 0.25
    found = figures(floats, rounded(floats, WIDE), WIDE)
    assert (found.dead, found.sqnr_db[4:]) == ((), (None,) * 6)


def test_one_hot_classes_that_are_rare_are_not_dead() -> None:
    floats = np.eye(3)[[0] * 20 + [1] * 19 + [2]]
    answers = np.eye(3)[[0] * 20 + [1] * 20]
    assert figures(floats, answers).dead == ()


def test_values_clipped_to_the_range_are_saturated() -> None:
    floats = RANDOM.uniform(0, 1, (100, 2)) * [1.0, 1.5]
    found = figures(floats, rounded(floats, UNIT), UNIT)
    assert found.saturated == (1,)


def test_values_at_an_end_where_the_float_value_is_too_are_not_saturated() -> None:
    floats = np.maximum(RANDOM.normal(-1, 1, (100, 2)), 0) / 4
    assert figures(floats, rounded(floats, UNIT), UNIT).saturated == ()


def test_an_output_that_hardly_varies_has_no_ratio() -> None:
    floats = 100 + RANDOM.normal(0, 0.1, (40, 2))
    answers = floats + 0.2
    assert centered_sqnr_db(sums(floats, answers)) is None
    assert figures(floats, answers).worst is None


def test_equal_outputs_have_no_ratio() -> None:
    assert centered_sqnr_db(sums(HEAD, HEAD)) is None
    assert figures(HEAD, HEAD) == Channels(10, None, None, (None,) * 10, (), ())


def test_nan_is_the_worst_ratio() -> None:
    answers = HEAD.copy()
    answers[3, 2] = np.nan
    found = figures(HEAD, answers)
    assert (found.worst, found.worst_sqnr_db) == (2, -200.0)


def test_one_channel_and_very_many_are_one_whole() -> None:
    for count in (1, 5000):
        floats = RANDOM.normal(0, 1, (12, count))
        whole = sums(floats, floats + 0.1)
        assert channel_figures(whole) is None
        assert centered_sqnr_db(whole) == pytest.approx(10 * np.log10(floats.var() / 0.01), abs=0.1)


def test_of_many_channels_only_the_worst_is_listed() -> None:
    floats = RANDOM.normal(0, 1, (12, 2000))
    found = figures(floats, floats * 1.1)
    assert (found.count, found.sqnr_db) == (2000, ())
    assert found.worst is not None


def test_the_order_of_samples_changes_no_figure() -> None:
    answers, order = rounded(HEAD, WIDE), RANDOM.permutation(39) + 1
    shuffled = [0, *order]
    assert figures(HEAD, answers, WIDE) == figures(HEAD[shuffled], answers[shuffled], WIDE)


def test_a_large_output_is_read_at_evenly_spaced_positions() -> None:
    floats = RANDOM.normal(0, 1, (2, 300_000, 2)).astype(np.float32)
    each = sums(floats, floats * 1.1)
    assert each.values == 2 * 100_000
    assert centered_sqnr_db(each) == pytest.approx(20.0, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 0), (0,)])
def test_an_output_without_elements_has_no_sums(shape: tuple[int, ...]) -> None:
    empty = np.zeros(shape)
    assert channel_sums(empty, empty, shift_of(empty), None) is None
