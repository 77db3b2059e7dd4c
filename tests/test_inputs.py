from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tflq.datasets import Random, TensorSpec
from tflq.datasets.random import Seed
from tflq.datasets.rows import LazyRow
from tflq.errors import DatasetError
from tflq.inputs.samples import make_sample
from tflq.inputs.schema import Input, Resize

PHOTO = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
GRAY = PHOTO[..., :1]
GRAY_WEIGHTS = np.array([0.2989, 0.587, 0.114], np.float32)


def make(value: Any, given: Input, shape: tuple[int | None, ...] | None, dtype: str = "float32") -> np.ndarray:
    """The model input `x`, of that shape without the batch, made of a column of the same name."""
    spec = TensorSpec("x", dtype, None if shape is None else (1, *shape))
    made = make_sample({"x": value, "label": 0}, {"x": given}, (spec,))["x"]
    assert made.dtype == np.dtype(dtype)
    assert made.flags.c_contiguous
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Input(), PHOTO.astype(np.float32)),
        (Input(scale=1 / 127.5), PHOTO.astype(np.float32) * np.float32(1 / 127.5)),
        (Input(offset=-1), PHOTO.astype(np.float32) - 1),
        (Input(scale=0.1, offset=0.3), PHOTO.astype(np.float32) * np.float32(0.1) + np.float32(0.3)),
        (Input(mean=3.3), PHOTO.astype(np.float32) - np.float32(3.3)),
        (Input(mean=3.3, std=0.7), (PHOTO.astype(np.float32) - np.float32(3.3)) / np.float32(0.7)),
        (
            Input(scale=(1, 2, 3), offset=(0.1, 0.2, 0.3)),
            PHOTO.astype(np.float32) * np.float32([1, 2, 3]) + np.float32([0.1, 0.2, 0.3]),
        ),
        (Input(mean=(1, 2, 3), std=2), (PHOTO.astype(np.float32) - np.float32([1, 2, 3])) / 2),
        (Input(channels="bgr", scale=(1, 2, 3)), PHOTO[..., ::-1].astype(np.float32) * np.float32([1, 2, 3])),
    ],
)
def test_arithmetic_is_float32_to_the_bit(given: Input, expected: np.ndarray) -> None:
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(make(PHOTO, given, (8, 6, 3)), expected)


def test_order_is_resize_channels_scale_layout() -> None:
    given = Input(resize=Resize(size=(4, 3), method="nearest"), channels="grayscale", scale=2, offset=1, layout="nchw")
    nearest = PHOTO[1::2, 1::2].astype(np.float32)
    expected = (nearest @ GRAY_WEIGHTS * 2 + 1)[np.newaxis]
    np.testing.assert_allclose(make(PHOTO, given, (1, 4, 3)), expected, rtol=1e-6)


def test_layout_nchw_with_a_scale_for_each_channel() -> None:
    made = make(PHOTO, Input(layout="nchw", scale=(1, 2, 3)), (3, 8, 6))
    np.testing.assert_array_equal(made, np.moveaxis(PHOTO * np.float32([1, 2, 3]), -1, 0))


@pytest.mark.parametrize(
    ("picture", "channels", "shape", "expected"),
    [
        (PHOTO, "rgb", (8, 6, 3), PHOTO),
        (PHOTO, "bgr", (8, 6, 3), PHOTO[..., ::-1]),
        (PHOTO, "grayscale", (8, 6, 1), (PHOTO.astype(np.float32) @ GRAY_WEIGHTS)[..., None]),
        (GRAY, "rgb", (8, 6, 1), GRAY),
        (GRAY, "grayscale", (8, 6, 1), GRAY),
        (GRAY, "rgb", (8, 6, 3), np.repeat(GRAY, 3, axis=-1)),
        (GRAY, "bgr", (8, 6, 3), np.repeat(GRAY, 3, axis=-1)),
        (GRAY[..., 0], "grayscale", (8, 6, 1), GRAY),
        (PHOTO[..., [0, 1, 2, 0]], "rgb", (8, 6, 4), PHOTO[..., [0, 1, 2, 0]]),
    ],
)
def test_channels(picture: np.ndarray, channels: Any, shape: tuple[int, ...], expected: np.ndarray) -> None:
    np.testing.assert_allclose(make(picture, Input(channels=channels), shape), expected, rtol=1e-6)


def test_center_crop_resizes_the_short_side_first() -> None:
    columns = np.repeat(np.arange(40, dtype=np.uint8)[np.newaxis, :, np.newaxis], 10, axis=0)
    nearest = Resize(size=(10, 20), method="nearest")
    np.testing.assert_array_equal(
        make(columns, Input(resize=nearest, crop="center"), (10, 20, 1))[3, :, 0], np.arange(10, 30)
    )
    np.testing.assert_array_equal(make(columns, Input(resize=nearest), (10, 20, 1))[3, :, 0], np.arange(1, 40, 2))
    halved = Input(resize=Resize(size=(5, 5), method="nearest"), crop="center")
    np.testing.assert_array_equal(make(columns, halved, (5, 5, 1))[3, :, 0], np.arange(15, 25, 2))


@pytest.mark.parametrize(
    ("got", "shape"),
    [
        ((8, 6), (8, 6, 1)),
        ((8, 6, 1), (8, 6)),
        ((1, 8, 6, 3), (8, 6, 3)),
        ((1,), ()),
        ((), (1,)),
        ((5,), (1, 5, 1)),
        ((5,), (None,)),
        ((5, 7), (None, None)),
        ((5, 7), None),
    ],
)
def test_axes_of_length_one_may_be_missing_or_more(got: tuple[int, ...], shape: tuple[int | None, ...] | None) -> None:
    values = np.arange(np.prod(got), dtype=np.float32).reshape(got)
    made = make(values, Input(), shape)
    assert made.shape == (got if shape is None or None in shape else shape)
    np.testing.assert_array_equal(made.ravel(), values.ravel())


def test_batch_of_one_is_dropped_before_resizing() -> None:
    np.testing.assert_array_equal(
        make(PHOTO[np.newaxis], Input(resize=(4, 4)), (4, 4, 3)), make(PHOTO, Input(resize=(4, 4)), (4, 4, 3))
    )


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.arange(3.0), "float32"),
        (np.array([2**62, 5, -1]), "int64"),
        (np.array([0.0, 1.0, 2.0]), "int32"),
        (np.array([0, 1, 1]), "bool"),
        (np.array([True, False, True]), "float32"),
        (np.array([True, False, True]), "int32"),
        (np.array([1e-3, 1, 2]), "float16"),
        (np.array([0.1, 1 / 3, 2]), "float64"),
        ([1, 2, 3], "float32"),
        (range(3), "int32"),
    ],
)
def test_dtype_is_the_model_s(value: Any, dtype: str) -> None:
    np.testing.assert_array_equal(make(value, Input(), (3,), dtype), np.asarray(value).astype(dtype))


def test_pictures_of_integer_inputs_are_rounded_and_clipped_to_what_was_read() -> None:
    edge = np.zeros((9, 9, 1), np.uint8)
    edge[:, 5:] = 255
    bicubic = Input(resize=Resize(size=(20, 20), method="bicubic"))
    floats = make(edge, bicubic, (20, 20, 1))
    assert (floats.min() < 0, floats.max() > 255) == (True, True)
    np.testing.assert_array_equal(make(edge, bicubic, (20, 20, 1), "uint8"), np.clip(np.rint(floats), 0, 255))
    signed = bicubic.model_copy(update={"offset": -128})
    np.testing.assert_array_equal(make(edge, signed, (20, 20, 1), "int8"), np.clip(np.rint(floats), 0, 255) - 128)
    gray = Input(channels="grayscale")
    np.testing.assert_array_equal(make(PHOTO, gray, (8, 6, 1), "uint8"), np.rint(make(PHOTO, gray, (8, 6, 1))))


def test_random_row_is_a_sample_whatever_the_inputs_say() -> None:
    specs = (TensorSpec("a", "float32", (1, 3, 8, 8)), TensorSpec("b", "uint8", (1, 8, 8, 1)))
    inputs = {"a": Input(layout="nchw", scale=9, column="other"), "b": Input(resize=(8, 8))}
    (row,) = Random(random=Seed()).rows([1], specs)
    sample = make_sample(row, inputs, specs)
    assert list(sample) == ["a", "b"]
    for name, array in sample.items():
        np.testing.assert_array_equal(array, row[name])


X = (TensorSpec("x", "float32", (1, 2)),)
TWO = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("row", "inputs"),
    [
        ({"x": TWO + 1, "y": TWO}, {}),
        ({"x": TWO, "y": TWO + 1}, {"x": Input(column="y")}),
        ({"image": TWO + 1, "label": 3}, {}),
        ({"id": b"17", "file": "a.png", "image": TWO + 1, "label": 3}, {}),
    ],
)
def test_column(row: Mapping[str, Any], inputs: dict[str, Input]) -> None:
    np.testing.assert_array_equal(make_sample(row, inputs, X)["x"], [1, 1])


def test_each_input_has_its_column() -> None:
    specs = (TensorSpec("left", "float32", (1, 2)), TensorSpec("right", "int32", (1, 2)))
    sample = make_sample({"a": TWO + 1, "right": TWO}, {"left": Input(column="a", scale=3)}, specs)
    assert {name: array.tolist() for name, array in sample.items()} == {"left": [3, 3], "right": [0, 0]}


def test_columns_that_are_not_inputs_are_not_made() -> None:
    row = LazyRow({"x": TWO}, {"broken": lambda: pytest.fail("was made")})
    assert list(make_sample(row, {}, X)) == ["x"]


NEITHER = "set inputs.x.column to one of them"


@pytest.mark.parametrize(
    ("row", "given", "message"),
    [
        ({"a": TWO, "b": TWO}, Input(), f"input 'x': the dataset has no column 'x'; it has a, b: {NEITHER}"),
        ({"label": TWO}, Input(), f"input 'x': the dataset has no column 'x'; it has label: {NEITHER}"),
        ({"text": "a"}, Input(), f"input 'x': the dataset has no column 'x'; it has text: {NEITHER}"),
        (
            {"image": TWO},
            Input(column="imgae"),
            f"input 'x': the dataset has no column 'imgae' (did you mean 'image'?); it has image: {NEITHER}",
        ),
    ],
)
def test_column_that_is_not_there(row: Mapping[str, Any], given: Input, message: str) -> None:
    with pytest.raises(DatasetError) as error:
        make_sample(row, {"x": given}, X)
    assert str(error.value) == message


def test_no_column_is_guessed_for_several_inputs() -> None:
    specs = (*X, TensorSpec("y", "float32", (1, 2)))
    with pytest.raises(DatasetError, match=r"^input 'y': the dataset has no column 'y'; it has x: set inputs\.y"):
        make_sample({"x": TWO}, {}, specs)


OTHERWISE = "set inputs.x.column to another column, or give the rows that shape in a python dataset"


@pytest.mark.parametrize(
    ("value", "given", "shape", "message"),
    [
        ("text", Input(), (1,), "input 'x': column 'x' holds text, not numbers"),
        (np.array([b"a"], object), Input(), (1,), "input 'x': column 'x' holds object, not numbers"),
        (
            [[1, 2], [3]],
            Input(),
            (2, 2),
            "input 'x': column 'x' holds lists of different lengths, which do not form an array",
        ),
        (
            PHOTO,
            Input(),
            (4, 4, 3),
            "input 'x' takes [4, 4, 3], but column 'x' gives [8, 6, 3]: set inputs.x.resize: [4, 4]",
        ),
        (
            PHOTO,
            Input(layout="nchw"),
            (3, 4, 4),
            "input 'x' takes [3, 4, 4], but column 'x' gives [3, 8, 6]: set inputs.x.resize: [4, 4]",
        ),
        (
            PHOTO,
            Input(),
            (3, 8, 6),
            "input 'x' takes [3, 8, 6], but column 'x' gives [8, 6, 3]: set inputs.x.layout: nchw",
        ),
        (
            PHOTO,
            Input(),
            (8, 6, 1),
            "input 'x' takes [8, 6, 1], but column 'x' gives [8, 6, 3]: set inputs.x.channels: grayscale",
        ),
        (PHOTO, Input(), (784,), f"input 'x' takes [784], but column 'x' gives [8, 6, 3]: {OTHERWISE}"),
        (TWO, Input(), (3, None), f"input 'x' takes [3, ?], but column 'x' gives [2]: {OTHERWISE}"),
        (
            TWO,
            Input(resize=(4, 4)),
            (4, 4, 1),
            "input 'x': column 'x' is not an image [height, width, channels]: its shape is [2]",
        ),
        (
            PHOTO[..., :2],
            Input(channels="bgr"),
            (8, 6, 2),
            "input 'x': column 'x' has 2 channels, but channels: bgr needs 3",
        ),
        (
            PHOTO,
            Input(scale=(1, 2)),
            (8, 6, 3),
            "input 'x': column 'x' has 3 channels, but inputs.x gives numbers for 2",
        ),
        (5, Input(scale=(1, 2)), (), "input 'x': column 'x' has no channels, but inputs.x gives numbers for 2"),
    ],
)
def test_value_that_is_no_such_input(value: Any, given: Input, shape: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(DatasetError) as error:
        make(value, given, shape)
    assert str(error.value) == message


REMEDY = "correct the column, or its scale and offset"


@pytest.mark.parametrize(
    ("value", "given", "dtype", "message"),
    [
        ([0, 0.5], Input(), "int32", f"0.5, but the input takes int32: whole numbers from {-(2**31)} to {2**31 - 1}"),
        (
            [0, 2**31],
            Input(),
            "int32",
            f"{2**31}, but the input takes int32: whole numbers from {-(2**31)} to {2**31 - 1}",
        ),
        ([3, -1], Input(), "uint8", "-1, but the input takes uint8: whole numbers from 0 to 255"),
        ([1, 2], Input(), "bool", "2, but the input takes bool: whole numbers from 0 to 1"),
        ([1, np.nan], Input(), "int8", "nan, but the input takes int8: whole numbers from -128 to 127"),
        ([2, 3], Input(scale=0.25), "int8", "0.5, but the input takes int8: whole numbers from -128 to 127"),
    ],
)
def test_integer_inputs_take_whole_numbers_in_range(value: Any, given: Input, dtype: str, message: str) -> None:
    with pytest.raises(DatasetError) as error:
        make(value, given, (2,), dtype)
    assert str(error.value) == f"input 'x': column 'x' gives {message}; {REMEDY}"


@pytest.mark.parametrize("dtype", ["string", "complex64", "resource"])
def test_dtype_that_is_no_number(dtype: str) -> None:
    with pytest.raises(DatasetError) as error:
        make([1, 2], Input(), (2,), dtype)
    assert str(error.value) == f"input 'x' takes {dtype}, which is not a supported number type"
