from __future__ import annotations

import numpy as np
import pytest

from tflq.errors import DatasetError
from tflq.inputs.checks import InputSummary, SummaryBuilder, check_calibration, check_finite

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told_with_its_row(bad: float) -> None:
    sample = {"ids": np.array([1, 2]), "image": np.array([[0, 1], [bad, 2]], np.float32)}
    with pytest.raises(DatasetError) as error:
        check_finite(sample, 17, "rows.npz")
    assert str(error.value) == (
        f"rows.npz: row 17: input 'image' holds {bad}: correct the data, its scale and offset, or leave that row out"
    )
    with pytest.raises(DatasetError, match=r"^more.npz: row 5: input 'image' holds "):
        SummaryBuilder("more.npz").add(sample, 5)


def test_finite_samples_pass() -> None:
    check_finite({"x": np.array([3.4e38], np.float32), "flag": np.array([True]), "ids": np.array([5])}, 0, "rows.npz")


def test_summaries_are_numpy_s() -> None:
    images = [RNG.normal(5, 2, (4, 3)).astype(np.float32) + 1000 for _ in range(9)]
    ids = [RNG.integers(0, 9, (2,), np.int32) for _ in range(9)]
    survey = SummaryBuilder("rows.npz")
    for row, (image, some) in enumerate(zip(images, ids, strict=True)):
        survey.add({"image": image, "ids": some}, row)
    for summary, arrays in zip(survey.summaries(), (images, ids), strict=True):
        every = np.stack(arrays).astype(np.float64)
        found = (summary.minimum, summary.maximum, summary.mean, summary.std)
        assert found == pytest.approx((every.min(), every.max(), every.mean(), every.std()), rel=1e-9)
        assert (summary.samples, summary.dtype, summary.is_repeated) == (9, str(arrays[0].dtype), False)
    assert [summary.name for summary in survey.summaries()] == ["image", "ids"]


def test_repeated_samples_are_noticed() -> None:
    image = RNG.random((4, 3))
    for arrays, is_repeated in (([image], False), ([image, image.copy()], True), ([image, image, image + 1], False)):
        survey = SummaryBuilder("rows.npz")
        for row, array in enumerate(arrays):
            survey.add({"image": array}, row)
        assert survey.summaries()[0].is_repeated is is_repeated


def summary(dtype: str, minimum: float, maximum: float) -> InputSummary:
    return InputSummary("x", dtype, 1, 7, minimum, maximum, minimum, 0.0, True)


@pytest.mark.parametrize(
    ("dtype", "value", "shown"), [("float32", 0.0, "0"), ("float16", -1.5, "-1.5"), ("uint8", 255, "255")]
)
def test_input_that_never_varies(dtype: str, value: float, shown: str) -> None:
    with pytest.raises(DatasetError) as error:
        check_calibration([summary("float32", 0, 1), summary(dtype, value, value)], {})
    assert str(error.value) == (
        f"input 'x' never varies: it is {shown} in all 7 calibration samples, so it has no range;"
        " check its column, scale and offset"
    )


@pytest.mark.parametrize("constant", [summary("int32", 1, 1), summary("bool", 0, 0), summary("float32", 0, 0.1)])
def test_ids_and_masks_may_be_constant(constant: InputSummary) -> None:
    check_calibration([constant], {})
