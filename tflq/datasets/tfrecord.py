"""`{tfrecord: "shards/*.tfrecord", features: {image: image, label: int64}}`: tf.train.Example messages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Discriminator, Field, PositiveInt, Tag, field_validator, model_validator
from typing_extensions import Self

from tflq.datasets import records
from tflq.datasets.decode import decode_image
from tflq.datasets.rows import LazyRow, Row, TensorSpec
from tflq.errors import DatasetError
from tflq.strict import AsTuple, RecipePath, Strict, did_you_mean

LISTS = {
    "image": "bytes_list",
    "string": "bytes_list",
    "bytes": "bytes_list",
    "int64": "int64_list",
    "float32": "float_list",
}
"""dtype → the list in a tf.train.Feature that contains its values."""


Dtype = Literal["image", "int64", "float32", "string", "bytes"]


class Feature(Strict):
    """A feature of a tf.train.Example."""

    dtype: Dtype = Field(description="`image`: an encoded JPEG or PNG file. `string`: UTF-8 text.")
    shape: Annotated[tuple[PositiveInt, ...], AsTuple] = Field(
        (), description="Shape of the values. Default: a single value."
    )

    @model_validator(mode="after")
    def _shape_of_numbers(self) -> Self:
        if self.dtype == "image" and self.shape:
            raise ValueError("an encoded image contains its shape: remove shape")
        return self


def _form(value: Any) -> str:
    return "<mapping>" if isinstance(value, (dict, Feature)) else "<dtype>"


class TFRecord(Strict):
    """Files of tf.train.Example messages, sorted by name. Files that end in .gz are decompressed."""

    EXAMPLE: ClassVar[str] = '{tfrecord: "shards/*.tfrecord", features: {image: image, label: int64}}'

    tfrecord: RecipePath = Field(description="A file, or a pattern such as `shards/*.tfrecord`.")
    features: dict[
        str,
        Annotated[
            Annotated[Dtype, Tag("<dtype>")] | Annotated[Feature, Tag("<mapping>")],
            Discriminator(_form),
        ],
    ] = Field(description="Maps the name of each feature to its dtype, or to {dtype, shape}. Each feature is a column.")

    @field_validator("features")
    @classmethod
    def _at_least_one(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise ValueError("name at least one feature, such as image: image")
        return value

    def __str__(self) -> str:
        return str(self.tfrecord)

    def files(self) -> list[Path]:
        """Return the files that the rows depend on."""
        return self._files()

    def count(self) -> int:
        return sum(records.count(file) for file in self._files())

    def rows(self, indices: Sequence[int], _specs: Sequence[TensorSpec] = ()) -> Iterator[Row]:
        segments = (records.Segment(file, 0, records.count(file)) for file in self._files())
        for place, record in records.read(segments, indices):
            yield self._row(record, place)

    def _files(self) -> list[Path]:
        anchor = Path(self.tfrecord.anchor)
        files = sorted(anchor.glob(str(self.tfrecord.relative_to(anchor))))
        if not files:
            raise DatasetError(f"{self.tfrecord}: there is no such file")
        return files

    def _row(self, record: bytes, place: str) -> Row:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            values = tf_example_pb2.Example.FromString(record).features.feature
        except DecodeError as error:
            raise DatasetError(f"{place}: is not a tf.train.Example") from error
        features = {name: Feature(dtype=f) if isinstance(f, str) else f for name, f in self.features.items()}
        columns = {name: _values(values, name, feature, place) for name, feature in features.items()}
        encoded = {name: columns.pop(name) for name, feature in features.items() if feature.dtype == "image"}
        return LazyRow(columns, {name: partial(decode_image, data, place) for name, data in encoded.items()})


def _values(features: Any, name: str, feature: Feature, place: str) -> Any:
    if name not in features:
        names = ", ".join(sorted(features)) or "none at all"
        raise DatasetError(f"{place}: has no feature {name!r}{did_you_mean(name, features)}; its features are {names}")
    expected = LISTS[feature.dtype]
    kind = features[name].WhichOneof("kind") or expected
    if kind != expected:
        raise DatasetError(
            f"{place}: feature {name!r} is in the {kind}, but {feature.dtype} is read from the {expected}"
        )
    values = list(getattr(features[name], kind).value)
    if len(values) != math.prod(feature.shape):
        needs = f", but its shape {list(feature.shape)} needs {math.prod(feature.shape)}"
        raise DatasetError(
            f"{place}: feature {name!r} holds {len(values)} values{needs if feature.shape else '; give its shape'}"
        )
    if feature.dtype == "string":
        values = [_text(value, name, place) for value in values]
    dtype = np.dtype(object) if expected == "bytes_list" else np.dtype(feature.dtype)
    array = np.array(values, dtype).reshape(feature.shape)
    return array if feature.shape else array[()]


def _text(value: bytes, name: str, place: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{place}: feature {name!r} is not UTF-8 text: give it the dtype bytes") from error
