"""TensorFlow writes here: the records that the tfds and tfrecord kinds read without it."""

from __future__ import annotations

import gzip
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tflq.datasets import Dataset, TensorSpec
from tflq.datasets.images import Images
from tflq.datasets.npz import Npz
from tflq.datasets.python import Python
from tflq.datasets.tfds import Tfds
from tflq.datasets.tfrecord import Feature, TFRecord
from tflq.errors import DatasetError
from tflq.inputs.samples import make_sample
from tflq.inputs.schema import Input

COUNT = 12
PHOTOS = np.random.default_rng(0).integers(0, 256, (COUNT, 9, 7, 3), dtype=np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, "JPEG", quality=90)
    return stream.getvalue()


JPEGS = [jpeg(photo) for photo in PHOTOS]


class TflqPhotos(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.2.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(num_classes=COUNT),
            "scan": {"film": {"gray": tfds.features.Image(shape=(None, None, 1))}, "name": tfds.features.Text()},
            "depth": tfds.features.Image(shape=(2, 2, 1), dtype=np.float32),
            "vector": tfds.features.Tensor(shape=(3,), dtype=np.float32),
            "boxes": tfds.features.Sequence({"corner": tfds.features.Tensor(shape=(2,), dtype=np.float32)}),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, _: object) -> dict[str, Iterator[Any]]:
        splits = {"train": JPEGS, "test": JPEGS, "broken": [b"no picture"] * 2}
        return {split: self._generate_examples(pictures) for split, pictures in splits.items()}

    def _generate_examples(self, pictures: list[bytes]) -> Iterator[Any]:
        for i, encoded in enumerate(pictures):
            yield (
                i,
                {
                    "image": io.BytesIO(encoded),
                    "label": i,
                    "scan": {"film": {"gray": io.BytesIO(jpeg(PHOTOS[i, ..., :1]))}, "name": f"scan {i}"},
                    "depth": np.full((2, 2, 1), i / 3, np.float32),
                    "vector": np.arange(3, dtype=np.float32) + i,
                    "boxes": [{"corner": [i, i + 1]}] * (i % 3),
                },
            )


class TflqUnreachable(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"x": np.int64}))

    def _split_generators(self, _: object) -> dict[str, Iterator[Any]]:
        raise ConnectionError("no route to host")

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError


@pytest.fixture(scope="session", params=["tfrecord", "array_record"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `tflq_photos` is prepared, in two shards, in one file format."""
    folder = tmp_path_factory.mktemp(request.param)
    builder = TflqPhotos(data_dir=folder, file_format=request.param)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    assert builder.info.splits["train"].shard_lengths == [6, 6]
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def photos(prepared: Path, split: str = "train") -> Tfds:
    return Tfds(tfds="tflq_photos", split=split, data_dir=prepared)


def test_tfds_rows(prepared: Path, no_network: None) -> None:
    dataset = photos(prepared)
    assert dataset.count() == COUNT
    rows = list(dataset.rows(range(COUNT)))
    assert sorted(row["label"] for row in rows) == list(range(COUNT))
    for row in rows:
        i = row["label"]
        assert sorted(row) == ["boxes/corner", "depth", "image", "label", "scan/film/gray", "scan/name", "vector"]
        np.testing.assert_array_equal(row["image"], np.asarray(Image.open(io.BytesIO(JPEGS[i]))))
        assert (row["scan/film/gray"].shape, row["scan/film/gray"].dtype, row["scan/name"]) == (
            (9, 7, 1),
            np.uint8,
            b"scan %d" % i,
        )
        np.testing.assert_array_equal(row["depth"], np.full((2, 2, 1), i / 3, np.float32))
        np.testing.assert_array_equal(row["vector"], [i, i + 1, i + 2])
        np.testing.assert_array_equal(row["boxes/corner"], [[i, i + 1]] * (i % 3))


@pytest.mark.parametrize(
    ("split", "chosen"),
    [
        ("train", [0, 5, 6, 11]),
        ("train[3:9]", [3, 5, 6, 8]),
        ("train[50%:]", [6, 11]),
        ("train[:2]+train[10:]", [0, 1, 10, 11]),
    ],
)
def test_tfds_rows_of_a_part_are_those_of_the_whole(prepared: Path, split: str, chosen: list[int]) -> None:
    order = [row["label"] for row in photos(prepared).rows(range(COUNT))]
    part = photos(prepared, split)
    whole = {"train": 0, "train[3:9]": 3, "train[50%:]": 6}
    indices = [i - whole[split] for i in chosen] if split in whole else range(4)
    assert [row["label"] for row in part.rows(indices)] == [order[i] for i in chosen]


def test_tfds_of_another_version_or_split(prepared: Path) -> None:
    assert Tfds(tfds="tflq_photos:1.2.0", split="test", data_dir=prepared).count() == COUNT
    for split, said in (
        ("tain", "Unknown split 'tain'. Should be one of ["),
        ("train[:9", "Error"),
    ):
        with pytest.raises(DatasetError) as error:
            photos(prepared, split).count()
        assert str(error.value).startswith(f"tfds tflq_photos {split}: ValueError: {said}")
    with pytest.raises(DatasetError, match=r"^tfds tflq_photos:9\.9\.9: AssertionError: Failed to construct dataset"):
        Tfds(tfds="tflq_photos:9.9.9", split="test", data_dir=prepared).count()


def test_tfds_that_is_unknown(tmp_path: Path, no_network: None) -> None:
    with pytest.raises(DatasetError) as error:
        Tfds(tfds="tflq_photo", split="train", data_dir=tmp_path).count()
    assert str(error.value) == (
        f"tfds tflq_photo: there is no such dataset, neither in tfds nor in {tmp_path} (did you mean 'tflq_photos'?)"
    )


def test_tfds_that_cannot_be_prepared(tmp_path: Path, no_network: None) -> None:
    with pytest.raises(DatasetError) as error:
        Tfds(tfds="tflq_unreachable", split="train", data_dir=tmp_path).count()
    assert str(error.value) == (
        f"tfds tflq_unreachable: is not in {tmp_path}, and preparing it failed (with a network, run:"
        f" tfds build tflq_unreachable --data_dir={tmp_path}; or correct data_dir):"
        " ConnectionError: no route to host"
    )


def test_tfds_is_prepared_where_it_is_not(tmp_path: Path) -> None:
    assert photos(tmp_path, "test[:5]").count() == 5


def test_tfds_names_the_record_of_a_broken_picture(prepared: Path) -> None:
    row, _ = photos(prepared, "broken").rows([0, 1])
    assert row["label"] in (0, 1)
    with pytest.raises(DatasetError, match=r"(-broken\S*: record 0|broken: row 0): is not an image in a known format$"):
        row["image"]


def example(**features: Any) -> bytes:
    lists = {
        bytes: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
        int: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
        float: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
    }
    encoded = {name: lists[type(values[0])](values) for name, values in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=encoded)).SerializeToString()


def write(path: Path, examples: list[bytes]) -> Path:
    options = tf.io.TFRecordOptions(compression_type="GZIP" if path.suffix == ".gz" else "")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for serialized in examples:
            writer.write(serialized)
    return path


EVERY = [
    example(
        photo=[JPEGS[i]], label=[i], vector=[0.5, float(i)], name=["№ %d".encode() % i if i else b"zero"], raw=[b"\xff"]
    )
    for i in range(COUNT)
]
FEATURES = {
    "photo": "image",
    "label": "int64",
    "vector": Feature(dtype="float32", shape=(2, 1)),
    "name": "string",
    "raw": "bytes",
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_tfrecord_rows(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"b{suffix}", EVERY[5:])
    write(tmp_path / f"a{suffix}", EVERY[:5])
    write(tmp_path / f"empty{suffix}", [])
    dataset = TFRecord(tfrecord=tmp_path / f"*{suffix}", features=FEATURES)
    assert dataset.count() == COUNT
    chosen = (0, 4, 5, 11)
    rows = list(dataset.rows(chosen))
    assert [row["label"] for row in rows] == list(chosen)
    for i, row in zip(chosen, rows, strict=True):
        assert sorted(row) == sorted(FEATURES)
        np.testing.assert_array_equal(row["photo"], np.asarray(Image.open(io.BytesIO(JPEGS[i]))))
        np.testing.assert_array_equal(row["vector"], np.array([[0.5], [i]], np.float32))
        assert (row["vector"].dtype, row["label"].dtype) == (np.float32, np.int64)
        assert (row["name"], row["raw"]) == (f"№ {i}" if i else "zero", b"\xff")
    assert list(dataset.rows(())) == []


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"lable": "int64"},
            "has no feature 'lable' (did you mean 'label'?); its features are label, name, photo, raw, vector",
        ),
        ({"label": "float32"}, "feature 'label' is in the int64_list, but float32 is read from the float_list"),
        ({"vector": "float32"}, "feature 'vector' holds 2 values; give its shape"),
        (
            {"vector": Feature(dtype="float32", shape=(3, 2))},
            "feature 'vector' holds 2 values, but its shape [3, 2] needs 6",
        ),
        ({"raw": "string"}, "feature 'raw' is not UTF-8 text: give it the dtype bytes"),
        ({"name": "image"}, "is not an image in a known format"),
    ],
)
def test_tfrecord_feature_that_is_not_so(tmp_path: Path, features: dict[str, Any], message: str) -> None:
    file = write(tmp_path / "a.tfrecord", EVERY)
    with pytest.raises(DatasetError) as error:
        [dict(row) for row in TFRecord(tfrecord=file, features=features).rows([2])]
    assert str(error.value) == f"{file}: record 2: {message}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut", lambda whole: whole[:-3], "is truncated: copy or write it again"),
        (
            "short",
            lambda whole: whole + b"123",
            "is not a TFRecord file, is damaged, or is compressed but its name does not end in .gz",
        ),
        (
            "text",
            lambda _: b"file,label\na.png,1\n",
            "is not a TFRecord file, is damaged, or is compressed but its name does not end in .gz",
        ),
        (
            "packed",
            gzip.compress,
            "is not a TFRecord file, is damaged, or is compressed but its name does not end in .gz",
        ),
        ("cut.gz", lambda whole: gzip.compress(whole)[:-20], "is damaged or cut short: copy or write it again"),
        (
            "flipped.gz",
            lambda whole: gzip.compress(whole)[:20] + b"\xff" * 20 + gzip.compress(whole)[40:],
            "is damaged or cut short: copy or write it again",
        ),
        (
            "plain.gz",
            lambda whole: whole,
            "is damaged, or is not compressed with gzip though its name ends in .gz: copy or rename it",
        ),
    ],
)
def test_tfrecord_file_that_is_none(tmp_path: Path, name: str, content: Any, message: str) -> None:
    whole = write(tmp_path / "whole", EVERY).read_bytes()
    (tmp_path / name).write_bytes(content(whole))
    with pytest.raises(DatasetError) as error:
        TFRecord(tfrecord=tmp_path / name, features=FEATURES).count()
    assert str(error.value).startswith(f"{tmp_path}/{name}: {message}")


@pytest.mark.parametrize("place", [20, -1])
def test_tfrecord_with_a_wrong_checksum(tmp_path: Path, place: int) -> None:
    file = write(tmp_path / "a", EVERY)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    damaged = 0 if place > 0 else len(EVERY) - 1
    with pytest.raises(DatasetError) as error:
        list(TFRecord(tfrecord=file, features=FEATURES).rows(range(len(EVERY))))
    wrong = "its checksum is wrong, so it is damaged: copy or write it again"
    assert str(error.value) == f"{file}: record {damaged}: {wrong}"


def test_tfrecord_of_no_examples(tmp_path: Path) -> None:
    file = write(tmp_path / "a", [b"no message"])
    with pytest.raises(DatasetError) as error:
        list(TFRecord(tfrecord=file, features=FEATURES).rows([0]))
    assert str(error.value) == f"{file}: record 0: is not a tf.train.Example"
    with pytest.raises(DatasetError, match=r"/b\*: there is no such file$"):
        TFRecord(tfrecord=tmp_path / "b*", features=FEATURES).count()


def test_reading_needs_no_tensorflow(prepared: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a", EVERY)
    code = f"""
import sys
from pathlib import Path
from tflq.datasets.tfds import Tfds
from tflq.datasets.tfrecord import TFRecord
tfds = Tfds(tfds="tflq_photos", split="train", data_dir=Path({str(prepared)!r}))
tfrecord = TFRecord(tfrecord=Path({str(file)!r}), features={{"label": "int64", "photo": "image"}})
for dataset in (tfds, tfrecord):
    assert len([dict(row) for row in dataset.rows(range(dataset.count()))]) == {COUNT}
print("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


def every_kind(folder: Path, prepared: Path) -> Iterator[Dataset]:
    """The same photographs, in every kind of dataset that holds images."""
    (folder / "photos").mkdir()
    for i, encoded in enumerate(JPEGS):
        (folder / "photos" / f"{i:02}.jpg").write_bytes(encoded)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(encoded))) for encoded in JPEGS])
    np.savez(folder / "photos.npz", image=pixels)
    np.save(folder / "photos.npy", pixels)
    module = f"photos_{prepared.name}"
    path = json.dumps(str(folder / "photos.npy"))
    (folder / f"{module}.py").write_text(
        f"import numpy\n\ndef rows():\n    return [{{'image': x}} for x in numpy.load({path})]\n"
    )
    write(folder / "photos.tfrecord", [example(image=[encoded]) for encoded in JPEGS])
    yield Images(images=folder / "photos")
    yield Npz(npz=folder / "photos.npz")
    yield Python(python=f"{module}:rows", folder=folder)
    yield TFRecord(tfrecord=folder / "photos.tfrecord", features={"image": "image"})


def test_a_picture_is_the_same_to_the_bit_whatever_holds_it(tmp_path: Path, prepared: Path) -> None:
    inputs = {"image": Input(resize=(6, 6), crop="center", scale=1 / 127.5, offset=-1.0, channels="bgr", layout="nchw")}
    specs = (TensorSpec("image", "float32", (1, 3, 6, 6)),)
    rows = {row["label"]: row for row in photos(prepared).rows(range(COUNT))}
    expected = [make_sample(rows[i], inputs, specs)["image"] for i in range(COUNT)]
    for dataset in every_kind(tmp_path, prepared):
        samples = [make_sample(row, inputs, specs)["image"] for row in dataset.rows(range(COUNT))]
        np.testing.assert_array_equal(samples, expected)
