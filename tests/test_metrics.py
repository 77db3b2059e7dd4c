from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from tflq.errors import DatasetError, EvaluationError
from tflq.metrics.built_in import TopK, top_k_odds
from tflq.metrics.custom import Custom
from tflq.metrics.drop import paired_drop
from tflq.metrics.fidelity import errors, fidelity
from tflq.metrics.metric import SampleMetric, stacked, value_of
from tflq.metrics.metric_list import BuiltIn, built_in

RANDOM = np.random.default_rng(0)


def value(metric: SampleMetric, outputs: np.ndarray, labels: np.ndarray) -> float:
    """The metric over samples, as evaluation computes it from the statistics of each."""
    rows = [metric.statistics(output[np.newaxis], label) for output, label in zip(outputs, labels, strict=True)]
    return value_of(metric, stacked(rows))


SCORES = RANDOM.normal(size=(200, 10))
CLASSES = RANDOM.integers(0, 10, 200)
REAL, ESTIMATE = RANDOM.normal(size=(50, 3)), RANDOM.normal(size=(50, 3))


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_as_scikit_learn_has_it(k: int) -> None:
    expected = reference.top_k_accuracy_score(CLASSES, SCORES, k=k, labels=range(10))
    assert value(TopK(k), SCORES, CLASSES) == pytest.approx(expected)


def test_top_1_takes_one_hot_labels() -> None:
    assert value(TopK(1), SCORES, np.eye(10)[CLASSES]) == value(TopK(1), SCORES, CLASSES)


@pytest.mark.parametrize(
    ("scores", "index", "k", "odds"),
    [
        ([3, 1, 2], 0, 1, 1.0),
        ([3, 1, 2], 2, 1, 0.0),
        ([3, 1, 2], 2, 2, 1.0),
        ([3, 3, 2], 0, 1, 0.5),
        ([3, 3, 3], 2, 1, 1 / 3),
        ([3, 2, 2], 1, 2, 0.5),
        ([0, 0, 0, 0], 3, 5, 1.0),
        ([3, math.nan, 2], 1, 1, 0.0),
        ([math.nan, 1, 2], 2, 1, 1.0),
    ],
)
def test_ties_count_by_their_odds(scores: list[float], index: int, k: int, odds: float) -> None:
    assert top_k_odds(np.array(scores), index, k) == pytest.approx(odds)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", reference.mean_absolute_error(REAL.ravel(), ESTIMATE.ravel())),
        ("mse", reference.mean_squared_error(REAL.ravel(), ESTIMATE.ravel())),
        ("rmse", reference.root_mean_squared_error(REAL.ravel(), ESTIMATE.ravel())),
        ("r2", reference.r2_score(REAL.ravel(), ESTIMATE.ravel())),
        ("binary_accuracy", reference.accuracy_score(REAL.ravel() > 0.5, ESTIMATE.ravel() > 0.5)),
    ],
)
def test_elementwise_metrics_as_scikit_learn_has_them(name: BuiltIn, expected: float) -> None:
    assert value(built_in(name), ESTIMATE, REAL) == pytest.approx(expected)


def test_f1_as_scikit_learn_has_it() -> None:
    expected = reference.f1_score(CLASSES, SCORES.argmax(1), average="macro")
    assert value(built_in("f1"), SCORES, CLASSES) == pytest.approx(expected)
    assert value(built_in("f1"), SCORES, np.eye(10)[CLASSES]) == pytest.approx(expected)
    missing = np.where(CLASSES == 3, 4, CLASSES)  # some classes are only answered, some only true
    expected = reference.f1_score(missing, np.minimum(SCORES.argmax(1), 7), average="macro")
    assert value(built_in("f1"), np.eye(10)[np.minimum(SCORES.argmax(1), 7)], missing) == pytest.approx(expected)


def test_f1_of_probabilities_as_scikit_learn_has_it() -> None:
    masks, probabilities = RANDOM.integers(0, 2, (6, 5, 5)), RANDOM.random((6, 5, 5, 1))
    expected = reference.f1_score(masks.ravel(), probabilities.ravel() > 0.5)
    assert value(built_in("f1"), probabilities, masks) == pytest.approx(expected)


def test_auc_as_scikit_learn_has_it() -> None:
    scores = np.round(SCORES, 1)  # with ties
    truth = CLASSES % 2
    expected = reference.roc_auc_score(truth, scores[:, 0])
    assert value(built_in("auc"), scores[:, :1], truth) == pytest.approx(expected)
    both = np.stack([-scores[:, 0], np.zeros(200)], 1)
    assert value(built_in("auc"), both, truth) == pytest.approx(expected)
    tags = RANDOM.integers(0, 2, (200, 3))
    expected = reference.roc_auc_score(tags, scores[:, :3])
    assert value(built_in("auc"), scores[:, :3], tags) == pytest.approx(expected)
    shares = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
    expected = reference.roc_auc_score(CLASSES, shares, multi_class="ovr")
    assert value(built_in("auc"), shares, CLASSES) == pytest.approx(expected)


def test_auc_of_weights_is_that_of_repeated_samples() -> None:
    metric, counts = built_in("auc"), RANDOM.integers(0, 4, (5, 200))
    rows = stacked([metric.statistics(np.round(score, 1), label) for score, label in zip(SCORES, CLASSES, strict=True)])
    repeated = [value_of(metric, np.repeat(rows, count, 0)) for count in counts]
    assert metric.value(rows, counts) == pytest.approx(np.array(repeated))


def test_auc_of_one_kind_of_samples_or_without_numbers_is_none() -> None:
    assert math.isnan(value(built_in("auc"), SCORES[:, :1], np.ones(200)))
    assert math.isnan(value(built_in("auc"), np.full((200, 1), np.nan), CLASSES % 2))


@pytest.mark.parametrize(("name", "k"), [("ndcg", None), ("ndcg10", 10)])
def test_ndcg_as_scikit_learn_has_it(name: BuiltIn, k: int | None) -> None:
    gains, scores = RANDOM.integers(0, 4, (30, 15)), np.round(RANDOM.normal(size=(30, 15)), 1)
    gains[0] = 0
    assert value(built_in(name), scores, gains) == pytest.approx(reference.ndcg_score(gains, scores, k=k))
    expected = reference.ndcg_score(gains[:, :12], scores[:, :12], k=k)
    gains[:, 12:] = -1
    assert value(built_in(name), scores, gains) == pytest.approx(expected)


def test_mean_iou_as_scikit_learn_has_it() -> None:
    truth, predicted = RANDOM.integers(0, 3, (2, 20, 4, 4))
    scores = np.eye(3)[predicted]
    expected = reference.jaccard_score(truth.ravel(), predicted.ravel(), average="macro")
    assert value(built_in("mean_iou"), scores, truth) == pytest.approx(expected)


def test_mean_iou_leaves_out_classes_that_never_occur() -> None:
    scores = np.eye(5)[np.array([[[0, 1], [1, 1]]])]
    assert value(built_in("mean_iou"), scores, np.array([[[0, 1], [1, 0]]])) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_mean_iou_of_one_probability_per_pixel() -> None:
    mask = np.array([[[[0.9], [0.2]]]])
    assert value(built_in("mean_iou"), mask, np.array([[[1, 0]]])) == 1.0


@pytest.mark.parametrize(
    ("name", "output", "label", "message"),
    [
        ("top1", np.zeros((1, 3)), 3, r"the label \[3\] is neither a class index from 0 to 2 nor one-hot"),
        ("top1", np.zeros((1, 3)), -1, r"the label \[-1\] is neither a class index from 0 to 2 nor one-hot"),
        ("top1", np.zeros((1, 3)), 0.5, r"the label \[0.5\] is neither a class index from 0 to 2 nor one-hot"),
        ("top1", np.zeros((1, 3)), math.nan, r"the label \[nan\] is neither a class index from 0 to 2 nor one-hot"),
        ("top1", np.zeros((1, 3)), "cat", r"the label \['cat'\] should be a number or several numbers"),
        ("mae", np.zeros((1, 1)), b"cat", r"the label \[b'cat'\] should be a number or several numbers"),
        ("mae", np.zeros((1, 3)), [1, 2], r"the output has 3 elements \(1, 3\), but the label has 2"),
        ("f1", np.zeros((1, 3)), [1, 1, 0], r"has 3 numbers and is not one-hot; f1 of an output \(1, 3\) needs one"),
        ("f1", np.zeros((1, 2, 2, 1)), [1, 0], r"the output has 4 elements \(1, 2, 2, 1\), but the label has 2"),
        (
            "auc",
            np.zeros((1, 3)),
            [1, 0],
            r"a class index, or a 0 or 1 for each of the 3 scores of the output \(1, 3\)",
        ),
        ("auc", np.zeros((1, 1)), 2, r"the label \[2\] should be a class index, or a 0 or 1"),
        ("ndcg", np.zeros((1, 3)), [1, 0], r"the output has 3 elements \(1, 3\), but the label has 2"),
        (
            "mean_iou",
            np.zeros((1, 2, 2)),
            [0, 2],
            "the label has 2 pixels with classes 0 to 2; the output has 2 pixels with 2 classes",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(name: BuiltIn, output: np.ndarray, label: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        built_in(name).statistics(output, np.asarray(label))


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "my_metric.py").write_text("def first(output, label):\n    return output[0, 0] - label\n")
    metric = Custom.model_validate({"python": "my_metric:first"}, context={"folder": tmp_path})
    assert value(metric, np.array([[3.0], [5.0]]), np.array([1.0, 1.0])) == 3.0
    with pytest.raises(EvaluationError, match="metric my_metric:second: cannot be imported from"):
        metric.model_copy(update={"python": "my_metric:second"}).statistics(np.zeros(1), np.zeros(1))


def rows(hits: np.ndarray) -> np.ndarray:
    return np.stack([hits, np.ones_like(hits)], axis=1).astype(np.float64)


def test_a_drop_that_is_as_large_as_a_bar_is_not_larger() -> None:
    for right in range(15, 3001):
        base, other = np.zeros((2, 3000))
        base[:right], other[: right - 15] = 1, 1
        assert paired_drop(TopK(1), rows(base), rows(other)).value == 0.005


def test_the_interval_of_a_paired_drop_is_that_of_mcnemars_table() -> None:
    base, other = RANDOM.random((2, 400)) < 0.8
    drop = paired_drop(TopK(1), rows(base), rows(other))
    b, c = np.sum(base & ~other), np.sum(~base & other)
    error = math.sqrt(((b + c + 2) / 402 - ((b - c) / 402) ** 2) / 400)
    assert drop.value == pytest.approx((b - c) / 400)
    assert (drop.low, drop.high) == pytest.approx((drop.value - 1.96 * error, drop.value + 1.96 * error))


def test_samples_that_all_agree_do_not_prove_that_none_ever_differs() -> None:
    drop = paired_drop(TopK(1), rows(np.ones(50)), rows(np.ones(50)))
    assert (drop.value, drop.high) == (0.0, pytest.approx(0.054, abs=0.001))


def test_the_interval_covers_the_true_drop_as_often_as_it_says() -> None:
    covered = 0
    for _ in range(400):
        base = RANDOM.random(500) < 0.9
        other = np.where(RANDOM.random(500) < 0.1, RANDOM.random(500) < 0.6, base)
        drop = paired_drop(TopK(1), rows(base), rows(other))
        covered += drop.low <= 0.9 - (0.9 * 0.9 + 0.1 * 0.6) <= drop.high
    assert 0.92 < covered / 400 < 0.98


def test_a_lower_error_is_better() -> None:
    metric = built_in("mae")
    good, bad = np.tile([1.0, 2.0], (30, 1)), np.tile([3.0, 2.0], (30, 1))
    assert paired_drop(metric, good, bad).value == pytest.approx(1.0)
    assert paired_drop(metric, bad, good).value == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["rmse", "r2", "mean_iou", "f1", "auc"])
def test_metrics_that_are_no_means_have_an_interval_by_bootstrap(name: BuiltIn) -> None:
    metric = built_in(name)
    if name in ("f1", "auc"):
        labels, noise = RANDOM.integers(0, 2, 100), RANDOM.normal(size=(100, 1, 1))
        pairs = [(label + 0.3 * n, label + 0.8 * n, label) for label, n in zip(labels, noise, strict=True)]
    elif name == "mean_iou":
        truth, guess = RANDOM.integers(0, 3, (2, 100, 4, 4))
        near = np.where(RANDOM.random(truth.shape) < 0.9, truth, guess)
        pairs = [(np.eye(3)[near][i : i + 1], np.eye(3)[guess][i : i + 1], truth[i]) for i in range(100)]
    else:
        truth = RANDOM.normal(size=(100, 1, 3))
        noise = RANDOM.normal(size=(100, 1, 3))
        pairs = [(truth[i] + 0.1 * noise[i], truth[i] + 0.5 * noise[i], truth[i]) for i in range(100)]
    base = np.array([metric.statistics(good, label) for good, _, label in pairs])
    other = np.array([metric.statistics(bad, label) for _, bad, label in pairs])
    drop = paired_drop(metric, base, other)
    assert 0 < drop.low < drop.value < drop.high
    assert paired_drop(metric, base, other) == drop
    assert paired_drop(metric, base, base).deviation == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["mae", "rmse"])
def test_a_file_that_answers_no_number_has_no_interval(name: BuiltIn, bad: float) -> None:
    good, broken = np.tile([1.0, 2.0], (30, 1)), np.tile([bad, 2.0], (30, 1))
    drop = paired_drop(built_in(name), good, broken)
    assert not math.isfinite(drop.value)
    assert not math.isfinite(drop.deviation)
    assert drop.samples_to_tell_from(0.01) is None


def test_r2_of_labels_that_never_vary_is_no_number() -> None:
    assert not math.isfinite(value(built_in("r2"), ESTIMATE, np.ones_like(REAL)))


def test_samples_to_tell_a_drop_from_a_bar() -> None:
    drop = paired_drop(TopK(1), rows(np.ones(1000)), rows(np.r_[np.zeros(40), np.ones(960)]))
    variance = 42 / 1002 - (40 / 1002) ** 2
    assert drop.samples_to_tell_from(0.03) == pytest.approx(6.2 * variance / 0.01**2, abs=1)
    assert drop.samples_to_tell_from(drop.value) is None


def test_fidelity_in_numbers() -> None:
    f, q = np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]])
    near = fidelity(np.array([errors(f, q)]))
    assert near.sqnr_db == pytest.approx(20.0)
    assert near.cosine == pytest.approx((9 + 18) / (5 * math.hypot(3, 4.5)))
    assert (near.max_abs_error, near.mse) == (0.5, 0.125)
    assert (near.psnr_db, near.peak) == (None, None)


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (1, 1, 9, 8), (1, 16, 16, 1)])
def test_figures_of_images_as_numpy_has_them(shape: tuple[int, ...]) -> None:
    f = 255 * RANDOM.random((5, *shape))
    f[0] /= 5  # a dark picture counts no less in the cosine, and the peak is that of all pictures
    q = np.round(f / 8) * 8
    near = fidelity(np.array([errors(*pair) for pair in zip(f, q, strict=True)]))
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(f, q, strict=True)]
    cosines = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]
    assert near.cosine == pytest.approx(np.mean(cosines))
    assert near.max_abs_error == np.abs(f - q).max()
    assert near.peak == np.ptp(f)
    assert near.psnr_db == pytest.approx(20 * np.log10(np.ptp(f) / np.sqrt(np.mean((f - q) ** 2))))


@pytest.mark.parametrize("shape", [(1, 8, 8, 2), (1, 7, 8, 3), (8, 8, 3), (1, 10), (0, 8, 8, 3)])
def test_an_output_that_is_no_image_has_no_psnr(shape: tuple[int, ...]) -> None:
    assert fidelity(np.array([errors(np.ones(shape), np.zeros(shape))])).psnr_db is None


def test_psnr_at_its_edges() -> None:
    f = RANDOM.random((1, 8, 8, 1))
    assert fidelity(np.array([errors(f, f)])).psnr_db is None
    assert fidelity(np.array([errors(np.ones_like(f), f)])).psnr_db is None, "without a peak"
    assert fidelity(np.array([errors(f, f + math.inf)])).psnr_db == -200


@pytest.mark.parametrize(
    ("f", "q", "sqnr_db", "cosine"),
    [
        ([1, 2], [1, 2], math.inf, 1.0),
        ([0, 0], [0, 0], math.inf, 1.0),
        ([0, 0], [1, 0], -math.inf, 0.0),
        ([1, 0], [0, 0], 0.0, 0.0),
        ([1, 2], [1, math.nan], -math.inf, 0.0),
        ([1, 2], [math.inf, 2], -math.inf, 0.0),
    ],
)
def test_fidelity_at_its_edges(f: list[float], q: list[float], sqnr_db: float, cosine: float) -> None:
    near = fidelity(np.array([errors(np.array(f), np.array(q))]))
    assert near.sqnr_db == sqnr_db
    assert near.cosine == pytest.approx(cosine)
