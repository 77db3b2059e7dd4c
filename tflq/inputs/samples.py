"""A row of a dataset → a sample: the arrays that a model takes."""

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

AS_IT_IS = Input()
NUMBERS = "biuf"
"""NumPy's kinds of dtypes that a model input may be made of."""


def make_sample(row: Row, inputs: Mapping[str, Input], specs: Sequence[TensorSpec]) -> Sample:
    """The row as the model's inputs, each of its dtype and of one sample's shape; DatasetError where it cannot be.

    A column may have axes of length 1 more or fewer than the model. A row of random numbers is a sample already,
    whatever the inputs say.
    """
    given = {} if isinstance(row, RandomRow) else inputs
    sample = {}
    for spec in specs:
        column = _column(row, given, spec, is_only=len(specs) == 1)
        sample[spec.name] = _InputConversion(given.get(spec.name, AS_IT_IS), spec, column).array(row[column])
    return sample


def _column(row: Row, inputs: Mapping[str, Input], spec: TensorSpec, is_only: bool) -> str:
    asked = inputs.get(spec.name, AS_IT_IS).column
    column = asked or spec.name
    if column in row:
        return column
    if asked is None and is_only:
        numbers = [name for name in row if name != "label" and _is_numbers(row[name])]
        if len(numbers) == 1:
            return numbers[0]
    raise DatasetError(
        f"input {spec.name!r}: the dataset has no column {column!r}{did_you_mean(column, row)}; it has"
        f" {', '.join(row)}: name one as inputs.{spec.name}.column"
    )


def _is_numbers(value: Any) -> bool:
    return isinstance(value, (int, float)) or (
        isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in NUMBERS
    )


@dataclass(frozen=True)
class _InputConversion:
    """One input of the model, and the column that it is made of."""

    given: Input
    spec: TensorSpec
    column: str

    def array(self, value: Any) -> np.ndarray:
        values = self._numbers(value)
        if self._is_picture(values):
            values = self._as_read(self._channels(self._resized(self._hwc(values))), values.dtype)
        values = self._scaled(values)
        if self.given.layout == "nchw":
            values = np.moveaxis(values, -1, 0)
        return np.asarray(self._cast(self._fitted(values)), order="C")

    def _numbers(self, value: Any) -> np.ndarray:
        try:
            values = np.asarray(value)
        except ValueError as error:
            raise self._error("holds lists of several lengths, which make no array") from error
        if values.dtype.kind not in NUMBERS:
            raise self._error(f"holds {'text' if isinstance(value, (str, bytes)) else values.dtype}, not numbers")
        return values

    def _is_picture(self, values: np.ndarray) -> bool:
        """Whether something is done to it that only a picture allows."""
        given = self.given
        is_asked = given.resize is not None or given.channels != "rgb" or given.layout == "nchw"
        return is_asked or (values.dtype == np.uint8 and values.ndim == 3 and self._model_channels == 3)

    @property
    def _dtype(self) -> np.dtype[Any]:
        known = np.dtype(self.spec.dtype) if self.spec.dtype in np.sctypeDict else None
        if known is None or known.kind not in NUMBERS:
            raise DatasetError(
                f"input {self.spec.name!r} takes {self.spec.dtype}, which is no kind of number known here"
            )
        return known

    @property
    def _model_channels(self) -> int | None:
        shape = self.spec.sample_shape
        if shape is None or len(shape) != 3:
            return None
        return shape[0 if self.given.layout == "nchw" else -1]

    def _hwc(self, values: np.ndarray) -> np.ndarray:
        if values.ndim == 4 and len(values) == 1:
            values = values.squeeze(0)
        if values.ndim not in (2, 3):
            raise self._error(f"is no picture [height, width, channels]: its shape is {brackets(values.shape)}")
        return values if values.ndim == 3 else values[..., np.newaxis]

    def _resized(self, picture: np.ndarray) -> np.ndarray:
        wanted = self.given.resizing
        if wanted is None:
            return picture
        is_cropped = self.given.crop == "center"
        height, width = picture.shape[:2]
        size = cover((height, width), wanted.size) if is_cropped else wanted.size
        return crop(resize(picture.astype(np.float32), size, wanted.method, wanted.antialias), wanted.size)

    def _as_read(self, values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """For a model that takes integers, pixels are again the integers of the column's dtype."""
        if self._dtype.kind == "f" or dtype.kind not in "iu" or values.dtype.kind != "f":
            return values
        whole: np.ndarray = np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
        return whole

    def _channels(self, picture: np.ndarray) -> np.ndarray:
        count = picture.shape[-1]
        if count == 1 and self.given.channels != "grayscale" and self._model_channels == 3:
            return np.repeat(picture, 3, axis=-1)
        if self.given.channels == "rgb" or (self.given.channels == "grayscale" and count == 1):
            return picture
        if count != 3:
            raise self._error(f"has {count} channels, but channels: {self.given.channels} needs 3")
        if self.given.channels == "bgr":
            return picture[..., ::-1]
        gray: np.ndarray = picture.astype(np.float32) @ GRAY_WEIGHTS[:, np.newaxis]
        return gray

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        scale, offset, mean, std = (
            self._factor(values, key) for key in (self.given.scale, self.given.offset, self.given.mean, self.given.std)
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

    def _fitted(self, values: np.ndarray) -> np.ndarray:
        wanted = self.spec.sample_shape
        if wanted is None or _fits(values.shape, wanted):
            return values
        sizes = tuple(size for size in wanted if size is not None)
        if len(sizes) == len(wanted) and np.squeeze(values).shape == tuple(size for size in sizes if size != 1):
            return values.reshape(sizes)
        raise DatasetError(
            f"input {self.spec.name!r} takes {brackets(wanted)}, but column {self.column!r} gives"
            f" {brackets(values.shape)}: {self._remedy(values.shape, wanted)}"
        )

    def _remedy(self, got: tuple[int, ...], wanted: tuple[int | None, ...]) -> str:
        key = f"inputs.{self.spec.name}"
        if len(got) == len(wanted) == 3:
            if got == (*wanted[1:], wanted[0]) and self.given.layout == "nhwc":
                return f"say {key}.layout: nchw"
            size, channels = (wanted[1:], 0) if self.given.layout == "nchw" else (wanted[:2], 2)
            if got[channels] == wanted[channels]:
                return f"say {key}.resize: {brackets(size)}"
            if (got[channels], wanted[channels]) == (3, 1):
                return f"say {key}.channels: grayscale"
        return f"name another column as {key}.column, or give the rows that shape in a python dataset"

    def _cast(self, values: np.ndarray) -> np.ndarray:
        dtype = self._dtype
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return values.astype(dtype)
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        is_whole = values == np.rint(values) if values.dtype.kind == "f" else True
        strange = values[~((values >= low) & (values <= high) & is_whole)]
        if strange.size:
            raise self._error(
                f"gives {strange.flat[0]}, but the input takes {dtype}: whole numbers from {low} to {high};"
                " correct the column, or its scale and offset"
            )
        return values.astype(dtype)

    def _error(self, what: str) -> DatasetError:
        return DatasetError(f"input {self.spec.name!r}: column {self.column!r} {what}")


def _fits(got: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(got) == len(wanted) and all(size in (None, has) for has, size in zip(got, wanted, strict=True))
