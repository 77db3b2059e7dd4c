from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tflq import strict
from tflq.datasets import Dataset, Random, Selection, TensorSpec, select
from tflq.datasets.images import Images
from tflq.datasets.npz import Npz
from tflq.datasets.python import Python
from tflq.datasets.random import Seed
from tflq.datasets.rows import LazyRow
from tflq.datasets.tfds import Tfds
from tflq.datasets.tfrecord import Feature, TFRecord
from tflq.errors import DatasetError, RecipeError
from tflq.strict import Strict

FOLDER = Path("recipes")


class Section(Strict):
    dataset: Dataset


def read(text: str) -> Dataset:
    return strict.validate(strict.parse(text, "recipe.yaml"), Section, FOLDER).dataset


@pytest.mark.parametrize(
    ("text", "dataset"),
    [
        ("{tfds: mnist, split: 'train[:200]'}", Tfds(tfds="mnist", split="train[:200]", data_dir=None)),
        ("{tfds: a/b:1.0.0, split: train, data_dir: d}", Tfds(tfds="a/b:1.0.0", split="train", data_dir=FOLDER / "d")),
        ("{npz: data.npz}", Npz(npz=FOLDER / "data.npz")),
        ("{images: photos}", Images(images=FOLDER / "photos", labels="none")),
        ("{images: photos, labels: folders}", Images(images=FOLDER / "photos", labels="folders")),
        ("{labels: a.csv, images: photos}", Images(images=FOLDER / "photos", labels=FOLDER / "a.csv")),
        (
            "{tfrecord: '*.tfrecord', features: {image: image, v: {dtype: float32, shape: [16]}}}",
            TFRecord(
                tfrecord=FOLDER / "*.tfrecord",
                features={"image": "image", "v": Feature(dtype="float32", shape=(16,))},
            ),
        ),
        ("{python: mypackage.data:rows}", Python(python="mypackage.data:rows", folder=FOLDER)),
        ("{python: data:rows, folder: code}", Python(python="data:rows", folder=FOLDER / "code")),
        ("{random: {}}", Random(random=Seed(seed=0))),
        ("{random: {seed: 3}}", Random(random=Seed(seed=3))),
    ],
)
def test_key_names_the_kind(text: str, dataset: Dataset) -> None:
    section = strict.validate(strict.parse(f"dataset: {text}", "recipe.yaml"), Section, FOLDER)
    assert section.dataset == dataset
    dumped = strict.YamlSource("dump", section.model_dump(mode="json", exclude_none=True, context={"folder": FOLDER}))
    assert strict.validate(dumped, Section, FOLDER) == section


KINDS = "tfds, npz, images, tfrecord, python, random"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("mnist", [f"1: dataset: should be a mapping with one of the keys {KINDS}"]),
        ("{}", [f"1: dataset: the kind of dataset is missing: give one of the keys {KINDS}"]),
        (
            "{npx: a}",
            [f"1: dataset: the kind of dataset is missing: give one of the keys {KINDS} (did you mean 'npz'?)"],
        ),
        ("{npz: a, images: b}", ["1: dataset: npz and images are both given: keep the key of one kind of dataset"]),
        ("{tfds: mnist}", ["1: dataset.split: this key is missing"]),
        (
            "{tfds: mnist, splitt: train}",
            ["1: dataset.split: this key is missing", "1: dataset.splitt: unknown key (did you mean 'split'?)"],
        ),
        ("{images: a, labels: 5}", ["1: dataset.labels: should be folders, none, or the path of a CSV file, not 5"]),
        ("{images: a, labels: ''}", ["1: dataset.labels: should be folders, none, or the path of a CSV file, not ''"]),
        ("{random: {sed: 1}}", ["1: dataset.random.sed: unknown key (did you mean 'seed'?)"]),
        ("{random: {seed: -1}}", ["1: dataset.random.seed: should be at least 0, not -1"]),
        (
            "{python: mypackage.data}",
            ["1: dataset.python: 'mypackage.data' should have the form module:function, such as mypackage.data:rows"],
        ),
        ("{tfrecord: a}", ["1: dataset.features: this key is missing"]),
        ("{tfrecord: a, features: {}}", ["1: dataset.features: name at least one feature, such as image: image"]),
        (
            "\n  tfrecord: a\n  features:\n    image: {dtype: image, shape: [3]}\n    x: float\n    y: {shape: [0]}",
            [
                "4: dataset.features.image: an encoded image contains its shape: remove shape",
                "5: dataset.features.x: 'float' is not one of image, int64, float32, string, bytes"
                " (did you mean 'float32'?)",
                "6: dataset.features.y.dtype: this key is missing",
                "6: dataset.features.y.shape.0: should be above 0, not 0",
            ],
        ),
    ],
)
def test_wrong_keys_are_told_by_line(text: str, faults: list[str]) -> None:
    with pytest.raises(RecipeError) as error:
        read(f"dataset: {text}")
    assert sorted(str(error.value).splitlines()) == [f"recipe.yaml:{fault}" for fault in faults]


@pytest.fixture
def ten(tmp_path: Path) -> Npz:
    np.savez(tmp_path / "ten.npz", x=np.arange(10))
    return Npz(npz=tmp_path / "ten.npz")


def test_select_is_a_seeded_sample_in_order(ten: Npz) -> None:
    chosen = select(ten, 4, 0)
    assert chosen == select(ten, 4, 0) != select(ten, 4, 1)
    assert chosen.total == 10
    every = [select(ten, 4, seed).indices for seed in range(50)]
    assert all(list(indices) == sorted(set(indices)) for indices in every)
    assert {len(indices) for indices in every} == {4}
    assert {index for indices in every for index in indices} == set(range(10))


@pytest.mark.parametrize(("samples", "seed"), [("all", 0), ("all", "first"), (10, 0), (11, 5), (99, "first")])
def test_select_takes_all_where_there_are_not_more(ten: Npz, samples: int, seed: int) -> None:
    assert select(ten, samples, seed) == Selection(range(10), 10)


def test_select_first(ten: Npz) -> None:
    assert select(ten, 3, "first") == Selection(range(3), 10)


def test_select_of_the_uncounted_is_in_order() -> None:
    assert select(Random(random=Seed()), 5, 7) == Selection(range(5), None)


def test_select_all_of_the_uncounted_has_no_end(tmp_path: Path) -> None:
    (tmp_path / "uncounted.py").write_text("def rows():\n    yield {'x': 1}\n    yield {'x': 2}\n")
    dataset = Python(python="uncounted:rows", folder=tmp_path)
    everything = select(dataset, "all", 0)
    assert everything == Selection(range(sys.maxsize), None)
    assert [row["x"] for row in dataset.rows(everything.indices)] == [1, 2]


def test_select_all_of_random_is_refused() -> None:
    with pytest.raises(
        DatasetError, match=r"^random numbers of seed 3: have no end: give samples as a number, not as all"
    ):
        select(Random(random=Seed(seed=3)), "all", 0)


def test_select_of_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 3)))
    with pytest.raises(DatasetError) as error:
        select(Npz(npz=tmp_path / "empty.npz"), 1, 0)
    assert str(error.value) == f"{tmp_path}/empty.npz: has no rows"


@pytest.mark.parametrize(
    ("shape", "is_batched", "batch", "sample_shape"),
    [
        ((1, 28, 28), True, 1, (28, 28)),
        ((None, 4), True, None, (4,)),
        ((8, None), True, 8, (None,)),
        ((), True, 1, ()),
        (None, True, None, None),
        ((15600,), False, 1, (15600,)),
        ((), False, 1, ()),
    ],
)
def test_tensor_spec(
    shape: tuple[int | None, ...] | None, is_batched: bool, batch: int | None, sample_shape: object
) -> None:
    spec = TensorSpec("x", "float32", shape, is_batched)
    assert (spec.batch, spec.sample_shape) == (batch, sample_shape)
    samples = np.zeros((1, 5))
    assert spec.call(samples).shape == ((1, 5) if is_batched else (5,))


def test_lazy_row_makes_a_column_once_and_only_when_asked() -> None:
    made: list[int] = []
    row = LazyRow({"label": 3}, {"image": lambda: made.append(1) or len(made)})
    assert (set(row), len(row), "image" in row, "other" in row, made) == ({"label", "image"}, 2, True, False, [])
    assert (row["image"], row["image"], row["label"]) == (1, 1, 3)
    with pytest.raises(KeyError, match="other"):
        row["other"]


SPECS = (
    TensorSpec("image", "float32", (1, 4, 4, 3)),
    TensorSpec("half", "float16", (1, 8)),
    TensorSpec("pixels", "uint8", (1, 500)),
    TensorSpec("signed", "int8", (1, 500)),
    TensorSpec("ids", "int32", (1, 64)),
    TensorSpec("mask", "bool", (1, 64)),
)


def test_random_rows_have_the_model_s_shapes_and_dtypes() -> None:
    (row,) = Random(random=Seed()).rows([5], SPECS)
    for spec in SPECS:
        assert (row[spec.name].shape, row[spec.name].dtype) == (spec.sample_shape, np.dtype(spec.dtype))
    assert 0 <= row["image"].min() < row["image"].max() < 1
    assert (row["pixels"].min() < 10, row["pixels"].max() > 245) == (True, True)
    assert (row["signed"].min() < -118, row["signed"].max() > 117) == (True, True)
    assert (set(row["ids"]), set(row["mask"])) == ({0, 1}, {False, True})


def test_random_row_depends_on_seed_and_index_alone() -> None:
    def image(seed: int, indices: list[int]) -> list[np.ndarray]:
        return [row["image"] for row in Random(random=Seed(seed=seed)).rows(indices, SPECS)]

    (one,) = Random(random=Seed()).rows([2], tuple(reversed(SPECS)))
    np.testing.assert_array_equal(image(0, [0, 2])[1], one["image"])
    assert not np.array_equal(image(0, [2])[0], image(0, [3])[0])
    assert not np.array_equal(image(0, [2])[0], image(1, [2])[0])
    twins = [TensorSpec(name, "float32", (1, 9)) for name in ("left", "right")]
    (row,) = Random(random=Seed()).rows([0], twins)
    assert not np.array_equal(row["left"], row["right"])


@pytest.mark.parametrize("shape", [None, (1, None, 3)])
def test_random_needs_known_shapes(shape: tuple[int | None, ...] | None) -> None:
    with pytest.raises(DatasetError) as error:
        list(Random(random=Seed()).rows([0], [TensorSpec("x", "float32", shape)]))
    assert str(error.value) == (
        "random numbers need the shape of input 'x', which the model leaves open: give inputs.x.shape"
    )


def test_files_are_what_rows_depend_on(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.jpg", "notes.txt", "s-1.tfrecord", "s-0.tfrecord", "mnist/3.0.1/features.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    pattern = TFRecord(tfrecord=tmp_path / "s-*.tfrecord", features={"image": "image"})
    assert Images(images=tmp_path).files() == [tmp_path / "a/1.jpg", tmp_path / "b/2.png"]
    assert pattern.files() == [tmp_path / "s-0.tfrecord", tmp_path / "s-1.tfrecord"]
    assert Npz(npz=tmp_path / "data.npz").files() == [tmp_path / "data.npz"]
    assert Tfds(tfds="mnist:3.0.1", split="train", data_dir=tmp_path).files() == [
        tmp_path / "mnist/3.0.1/features.json"
    ]
    assert Random(random=Seed()).files() == []


def test_files_of_what_cannot_be_told_are_none(tmp_path: Path) -> None:
    assert Python(python="data:rows", folder=tmp_path).files() is None
    assert Tfds(tfds="cifar10", split="train", data_dir=tmp_path).files() is None
