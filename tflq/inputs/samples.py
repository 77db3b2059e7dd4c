"""Convert a row of a dataset to a sample: the arrays of the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflq.datasets import RandomRow, Row, Sample, TensorSpec, brackets
from tflq.errors import DatasetError
from tflq.inputs.geometry import GRAY_WEIGHTS, cover, crop, resize
from tflq.inputs.schema import Input, PerChannel
from tflq.strict import did_you_mean

NO_PREPROCESSING = Input()
NUMBERS = "biuf"
"""NumPy's kinds of dtypes that can become a model input: bool, integers and floats."""


def make_sample(row: Row, inputs: Mapping[str, Input], specs: Sequence[TensorSpec]) -> Sample:
    """Return the row as model input name → array of the input's dtype, with the shape of one sample.

    A column may have more or fewer axes of length 1 than the model. A row of random numbers is already a sample, so
    `inputs` is not applied to it. Raise DatasetError if the row does not fit the model.
    """
    configs = {} if isinstance(row, RandomRow) else inputs
    sample = {}
    for spec in specs:
        column = _column(row, configs, spec, is_only=len(specs) == 1)
        sample[spec.name] = _InputConversion(configs.get(spec.name, NO_PREPROCESSING), spec, column).array(row[column])
    return sample


def _column(row: Row, inputs: Mapping[str, Input], spec: TensorSpec, is_only: bool) -> str:
    choice = inputs.get(spec.name, NO_PREPROCESSING).column
    column = choice or spec.name
    if column in row:
        return column
    if choice is None and is_only:
        numbers = [name for name in row if name != "label" and _is_numbers(row[name])]
        if len(numbers) == 1:
            return numbers[0]
    raise DatasetError(
        f"input {spec.name!r}: the dataset has no column {column!r}{did_you_mean(column, row)}; it has"
        f" {', '.join(row)}: set inputs.{spec.name}.column to one of them"
    )


def _is_numbers(value: Any) -> bool:
    return isinstance(value, (int, float)) or (
        isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in NUMBERS
    )


@dataclass(frozen=True)
class _InputConversion:
    """The conversion of a column of the dataset to an input of the model."""

    config: Input
    spec: TensorSpec
    column: str

    def array(self, value: Any) -> np.ndarray:
        values = self._numbers(value)
        if self._is_image(values):
            values = self._as_integers(self._channels(self._resized(self._hwc(values))), values.dtype)
        values = self._scaled(values)
        if self.config.layout == "nchw":
            values = np.moveaxis(values, -1, 0)
        return np.asarray(self._cast(self._reshaped(values)), order="C")

    def _numbers(self, value: Any) -> np.ndarray:
        try:
            values = np.asarray(value)
        except ValueError as error:
            raise self._error("holds lists of different lengths, which do not form an array") from error
        if values.dtype.kind not in NUMBERS:
            raise self._error(f"holds {'text' if isinstance(value, (str, bytes)) else values.dtype}, not numbers")
        return values

    def _is_image(self, values: np.ndarray) -> bool:
        """Return whether the column is an image, from its values and the preprocessing."""
        config = self.config
        needs_image = config.resize is not None or config.channels != "rgb" or config.layout == "nchw"
        return needs_image or (values.dtype == np.uint8 and values.ndim == 3 and self._model_channels == 3)

    @property
    def _dtype(self) -> np.dtype[Any]:
        dtype = np.dtype(self.spec.dtype) if self.spec.dtype in np.sctypeDict else None
        if dtype is None or dtype.kind not in NUMBERS:
            raise DatasetError(
                f"input {self.spec.name!r} takes {self.spec.dtype}, which is not a supported number type"
            )
        return dtype

    @property
    def _model_channels(self) -> int | None:
        shape = self.spec.sample_shape
        if shape is None or len(shape) != 3:
            return None
        return shape[0 if self.config.layout == "nchw" else -1]

    def _hwc(self, values: np.ndarray) -> np.ndarray:
        if values.ndim == 4 and len(values) == 1:
            values = values.squeeze(0)
        if values.ndim not in (2, 3):
            raise self._error(f"is not an image [height, width, channels]: its shape is {brackets(values.shape)}")
        return values if values.ndim == 3 else values[..., np.newaxis]

    def _resized(self, image: np.ndarray) -> np.ndarray:
        target = self.config.resizing
        if target is None:
            return image
        is_cropped = self.config.crop == "center"
        height, width = image.shape[:2]
        size = cover((height, width), target.size) if is_cropped else target.size
        return crop(resize(image.astype(np.float32), size, target.method, target.antialias), target.size)

    def _as_integers(self, values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """Return the pixels as integers of the column's dtype if the model takes integers."""
        if self._dtype.kind == "f" or dtype.kind not in "iu" or values.dtype.kind != "f":
            return values
        whole: np.ndarray = np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
        return whole

    def _channels(self, image: np.ndarray) -> np.ndarray:
        count = image.shape[-1]
        if count == 1 and self.config.channels != "grayscale" and self._model_channels == 3:
            return np.repeat(image, 3, axis=-1)
        if self.config.channels == "rgb" or (self.config.channels == "grayscale" and count == 1):
            return image
        if count != 3:
            raise self._error(f"has {count} channels, but channels: {self.config.channels} needs 3")
        if self.config.channels == "bgr":
            return image[..., ::-1]
        gray: np.ndarray = image.astype(np.float32) @ GRAY_WEIGHTS[:, np.newaxis]
        return gray

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        scale, offset, mean, std = (
            self._factor(values, key)
            for key in (self.config.scale, self.config.offset, self.config.mean, self.config.std)
        )
        if all(factor is None for factor in (scale, offset, mean, std)):
            return values
        with np.errstate(over="ignore"):
            scaled: np.ndarray = values.astype(np.float32)
            if mean is not None or std is not None:
                scaled -= 0 if mean is None else mean
                scaled /= 1 if std is None else std
            else:
                scaled *= 1 if scale is None else scale
                scaled += 0 if offset is None else offset
        return scaled

    def _factor(self, values: np.ndarray, factor: PerChannel | None) -> np.ndarray | None:
        if isinstance(factor, tuple) and values.shape[-1:] != (len(factor),):
            has = values.shape[-1] if values.ndim else "no"
            raise self._error(f"has {has} channels, but inputs.{self.spec.name} gives numbers for {len(factor)}")
        return None if factor is None else np.asarray(factor, np.float32)

    def _reshaped(self, values: np.ndarray) -> np.ndarray:
        shape = self.spec.sample_shape
        if shape is None or _fits(values.shape, shape):
            return values
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) == len(shape) and np.squeeze(values).shape == tuple(size for size in sizes if size != 1):
            return values.reshape(sizes)
        raise DatasetError(
            f"input {self.spec.name!r} takes {brackets(shape)}, but column {self.column!r} gives"
            f" {brackets(values.shape)}: {self._remedy(values.shape, shape)}"
        )

    def _remedy(self, actual: tuple[int, ...], expected: tuple[int | None, ...]) -> str:
        key = f"inputs.{self.spec.name}"
        if len(actual) == len(expected) == 3:
            if actual == (*expected[1:], expected[0]) and self.config.layout == "nhwc":
                return f"set {key}.layout: nchw"
            size, channels = (expected[1:], 0) if self.config.layout == "nchw" else (expected[:2], 2)
            if actual[channels] == expected[channels]:
                return f"set {key}.resize: {brackets(size)}"
            if (actual[channels], expected[channels]) == (3, 1):
                return f"set {key}.channels: grayscale"
        return f"set {key}.column to another column, or give the rows that shape in a python dataset"

    def _cast(self, values: np.ndarray) -> np.ndarray:
        dtype = self._dtype
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return values.astype(dtype)
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        is_whole = values == np.rint(values) if values.dtype.kind == "f" else True
        invalid = values[~((values >= low) & (values <= high) & is_whole)]
        if invalid.size:
            raise self._error(
                f"gives {invalid.flat[0]}, but the input takes {dtype}: whole numbers from {low} to {high};"
                " correct the column, or its scale and offset"
            )
        return values.astype(dtype)

    def _error(self, what: str) -> DatasetError:
        return DatasetError(f"input {self.spec.name!r}: column {self.column!r} {what}")


def _fits(actual: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(actual) == len(expected) and all(
        size in (None, length) for length, size in zip(actual, expected, strict=True)
    )
