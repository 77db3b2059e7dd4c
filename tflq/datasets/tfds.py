"""`{tfds: mnist, split: "train[:200]"}`: TensorFlow Datasets. Prepared datasets are read without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from tflq.datasets import records
from tflq.datasets.decode import decode_image
from tflq.datasets.foreign import ForeignCode
from tflq.datasets.rows import LazyRow, Row, TensorSpec
from tflq.errors import DatasetError
from tflq.strict import RecipePath, Strict, did_you_mean


class Tfds(Strict):
    """A dataset of TensorFlow Datasets. It is downloaded and prepared if needed.

    Rows are in the order of the files on disk. Nested features are columns such as `a/b`.
    """

    EXAMPLE: ClassVar[str] = '{tfds: mnist, split: "train[:200]"}'

    tfds: str = Field(min_length=1, description="name or name/config, with :version if you like.")
    split: str = Field(min_length=1, description="A split or a part of a split, such as train[:200].")
    data_dir: RecipePath | None = Field(
        None, description="Default: the environment variable TFDS_DATA_DIR, or ~/tensorflow_datasets."
    )

    def __str__(self) -> str:
        return f"tfds {self.tfds} {self.split}"

    def files(self) -> list[Path] | None:
        """Return the files of all prepared versions, or None if there are none. This does not import tfds."""
        root = self.data_dir or os.environ.get("TFDS_DATA_DIR") or Path("~/tensorflow_datasets").expanduser()
        files = sorted(path for path in Path(root, self.tfds.split("/")[0].split(":")[0]).rglob("*") if path.is_file())
        return files or None

    def count(self) -> int:
        return int(self._split(self._builder()).num_examples)

    def rows(self, indices: Sequence[int], _specs: Sequence[TensorSpec] = ()) -> Iterator[Row]:
        import tensorflow_datasets as tfds

        builder = self._builder()
        features = builder.info.features
        images = dict(_images(features))
        skipped = _nested({path: tfds.decode.SkipDecoding() for path in images})
        for place, record in self._records(builder, indices):
            with ForeignCode(place):
                columns = dict(_flat(features.deserialize_example_np(record, decoders=skipped)))
            encoded = {"/".join(path): channels for path, channels in images.items()}
            decoders = {name: partial(decode_image, columns.pop(name), place, n) for name, n in encoded.items()}
            yield LazyRow(columns, decoders)

    def _records(self, builder: Any, indices: Sequence[int]) -> Iterator[tuple[str, bytes]]:
        """Yield a name for messages and the serialized tf.train.Example of each row."""
        import tensorflow_datasets as tfds

        if builder.info.file_format.value == "tfrecord":
            instructions = self._split(builder).file_instructions
            yield from records.read((records.Segment(Path(p.filename), p.skip, p.take) for p in instructions), indices)
            return
        with ForeignCode(str(self)):
            source = builder.as_data_source(
                split=self.split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        for index in indices:
            with ForeignCode(f"{self}: row {index}"):
                record = source[index]
            yield f"{self}: row {index}", record

    def _split(self, builder: Any) -> Any:
        with ForeignCode(str(self)):
            return builder.info.splits[self.split]

    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        try:
            with ForeignCode(f"tfds {self.tfds}"):
                builder = tfds.builder(self.tfds, data_dir=self.data_dir)
        except DatasetError as error:
            if not isinstance(error.__cause__, tfds.core.registered.DatasetNotFoundError):
                raise
            hint = did_you_mean(self.tfds, tfds.list_builders(with_community_datasets=False))
            raise DatasetError(
                f"tfds {self.tfds}: there is no such dataset, neither in tfds nor in {self._where}{hint}"
            ) from None
        if not builder.is_prepared():
            self._prepare(builder)
        return builder

    def _prepare(self, builder: Any) -> None:
        option = f" --data_dir={self.data_dir}" if self.data_dir else ""
        remedy = f"with a network, run: tfds build {self.tfds}{option}; or correct data_dir"
        with ForeignCode(f"tfds {self.tfds}: is not in {self._where}, and preparing it failed ({remedy})"):
            builder.download_and_prepare()

    @property
    def _where(self) -> str:
        return str(self.data_dir or "TFDS_DATA_DIR or ~/tensorflow_datasets")


def _images(features: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the path and the number of channels of each feature that is a uint8 image."""
    import tensorflow_datasets as tfds

    for name, feature in features.items():
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _images(feature, (*path, name))
        elif type(feature) is tfds.features.Image and feature.np_dtype == np.uint8 and len(feature.shape) == 3:
            yield (*path, name), feature.shape[-1]


def _nested(flat: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        inner = nested
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return nested


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value
