"""What a second run finds again, and what makes it look anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from running import Ran, Recipes, keeping, made_twice

from tflq.cache import Store
from tflq.errors import DatasetError
from tflq.pipeline import Settings, run
from tflq.recipe import load
from tflq.worker import Event, Started

READ, SAMPLES, OBSERVED = "read the source", "read the calibration data", "observe the activations, part 1"
SOURCE = "measure the source"
GIGABYTE = 1_000_000_000


def write_recipe(recipes: Recipes, folder: Path) -> Path:
    """One with data of its own to change, which are written into the folder."""
    rows = np.random.default_rng(3).normal(0, 1, (30, 16)).astype(np.float32)
    np.savez(folder / "rows.npz", x=rows)
    asked = {"dataset": {"npz": str(folder / "rows.npz")}, "samples": 20}
    return recipes.write("tiny_dense", ["float32", "dynamic", "int8"], calibration=asked)


@pytest.fixture
def recipe(recipes: Recipes, tmp_path: Path) -> Path:
    return write_recipe(recipes.uncorrected, tmp_path)


@pytest.fixture
def corrected_recipe(recipes: Recipes, tmp_path: Path) -> Path:
    return write_recipe(recipes, tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", GIGABYTE)


@pytest.fixture(scope="module")
def first(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its data, and a store that has all of its first run."""
    folder = tmp_path_factory.mktemp("first")
    recipe = write_recipe(recipes, folder)
    assert done(keeping(recipe, Store(folder / "store", GIGABYTE))) == {READ, SAMPLES, OBSERVED, SOURCE}
    (folder / "recipe.yaml").symlink_to(recipe)
    shutil.copy(recipe, folder / "as_it_was.yaml")
    return folder


@pytest.fixture
def ran_before(first: Path, store: Store) -> Path:
    """A recipe as it was in the first run, whose results are in the store."""
    recipe = (first / "recipe.yaml").resolve()
    shutil.copytree(first / "store", store.root)
    shutil.copy(first / "as_it_was.yaml", recipe)
    return recipe


def change(recipe: Path, **keys: Any) -> None:
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | keys))


def done(ran: Ran) -> set[str]:
    """Which of the costly stages ran."""
    return {READ, SAMPLES, OBSERVED, SOURCE} & set(ran.stages)


def made(ran: Ran) -> dict[str, bytes]:
    return {variant.name: ran.file(variant.name).read_bytes() for variant in ran.result.variants}


def test_second_run_reads_and_observes_nothing_and_makes_the_same(corrected_recipe: Path, store: Store) -> None:
    first, second = (keeping(corrected_recipe, store) for _ in range(2))
    assert (done(first), done(second)) == ({READ, SAMPLES, OBSERVED, SOURCE}, set())
    assert made(first) == made(second)
    assert first.report["variants"][2]["fidelity"] == second.report["variants"][2]["fidelity"]
    assert first.report["calibration"] == second.report["calibration"]
    layers = [[variant.layers for variant in ran.result.variants] for ran in (first, second)]
    assert layers[0] == layers[1]
    assert all(found is None or found.layers for found in layers[0])
    assert first.report["baseline"] == second.report["baseline"]
    assert {entry.kind for entry in store.entries()} == {
        "model",
        "samples",
        "ranges",
        "refined",
        "corrected",
        "answers",
    }


def test_troubles_of_the_store_say_nothing_of_ranges(recipes: Recipes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = keeping(recipes.write("fake_quantized", ["int8"]), Store(tmp_path / "file", GIGABYTE))
    assert sum(said.startswith("nothing could be saved in the cache ") for said in ran.result.warnings) == 1
    assert ran.report["ranges"]["found_by"] == "quantization-aware training"


def another_mode(recipe: Path) -> None:
    change(recipe, variants=["int8_only", "int16x8"])


def another_gate(recipe: Path) -> None:
    change(recipe, gates={"min_sqnr_db": 1})


def another_evaluation(recipe: Path) -> None:
    change(recipe, evaluation={"dataset": {"random": {}}, "samples": 4})


def another_row(recipe: Path) -> None:
    path = Path(yaml.safe_load(recipe.read_text())["calibration"]["dataset"]["npz"])
    rows = np.load(path)["x"].copy()
    rows[:] += np.float32(0.5)
    np.savez(path, x=rows)


def an_unused_row(recipe: Path) -> None:
    path = Path(yaml.safe_load(recipe.read_text())["calibration"]["dataset"]["npz"])
    rows = np.load(path)["x"].copy()
    unused = sorted(
        set(range(30)) - set(np.random.Generator(np.random.PCG64(0)).choice(30, 20, replace=False).tolist())
    )
    rows[unused[0]] += 1
    np.savez(path, x=rows)


def another_scale(recipe: Path) -> None:
    change(recipe, inputs={"x": {"scale": 0.5}})


def other_samples(recipe: Path) -> None:
    asked = yaml.safe_load(recipe.read_text())["calibration"]
    change(recipe, calibration=asked | {"seed": 5})


def another_method(recipe: Path) -> None:
    asked = yaml.safe_load(recipe.read_text())["calibration"]
    change(recipe, calibration=asked | {"ranges": "mse"})


def another_shape(recipe: Path) -> None:
    change(recipe, inputs={"x": {"shape": [1, 16]}})


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (another_mode, {SAMPLES}),
        (another_gate, set()),
        (another_evaluation, {SOURCE}),
        (another_scale, {SAMPLES, OBSERVED, SOURCE}),
        (other_samples, {SAMPLES, OBSERVED}),
        (another_method, {OBSERVED, SAMPLES}),
        (another_shape, {READ, SAMPLES, SOURCE}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_only_what_a_change_reaches_is_done_again(
    ran_before: Path, store: Store, alter: Callable[[Path], None], expected: set[str]
) -> None:
    alter(ran_before)
    assert done(keeping(ran_before, store)) == expected


@pytest.mark.parametrize(
    ("alter", "expected"),
    [(another_row, {SAMPLES, OBSERVED}), (an_unused_row, {SAMPLES})],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_only_what_other_data_reach_is_done_again(
    recipe: Path, store: Store, alter: Callable[[Path], None], expected: set[str]
) -> None:
    keeping(recipe, store)
    alter(recipe)
    assert done(keeping(recipe, store)) == expected


def test_another_source_of_the_same_name_is_read(recipes: Recipes, store: Store, tmp_path: Path) -> None:
    shutil.copytree(recipes.models / "tiny_dense", tmp_path / "model")
    recipe = recipes.uncorrected.write("tiny_dense", ["int8"], model=str(tmp_path / "model"))
    keeping(recipe, store)
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(recipes.models / "small_weights", tmp_path / "model")
    assert done(keeping(recipe, store)) == {READ, SAMPLES, OBSERVED, SOURCE}


def test_damage_is_mended_and_told(recipe: Path, store: Store) -> None:
    first = keeping(recipe, store)
    for entry in store.entries():
        for file in entry.path.rglob("*.npz"):
            file.write_bytes(file.read_bytes()[:-7])
    second = keeping(recipe, store)
    assert done(second) == {SAMPLES, OBSERVED, SOURCE}
    assert sum("was damaged, so it is computed again" in said for said in second.result.warnings) == 2
    assert made(second) == made(first)
    assert done(keeping(recipe, store)) == set()


def test_keras_models_are_kept_too(recipes: Recipes, store: Store) -> None:
    recipe = recipes.uncorrected.write("keras3.keras", ["float32", "int8"])
    first, second = keeping(recipe, store), keeping(recipe, store)
    assert (READ in first.stages, READ in second.stages) == (True, False)
    assert made(first) == made(second)


def test_nothing_is_kept_where_the_recipe_says_so(recipe: Path, store: Store) -> None:
    asked = yaml.safe_load(recipe.read_text())["calibration"]
    change(recipe, calibration=asked | {"cache": False})
    keeping(recipe, store)
    assert store.entries() == []


def test_a_recipe_without_calibration_can_turn_the_cache_off(recipes: Recipes, store: Store) -> None:
    recipe = recipes.write("tiny_dense", ["float32"], calibration=None)
    change(recipe, cache=False)
    keeping(recipe, store)
    assert store.entries() == []
    change(recipe, cache=True)
    keeping(recipe, store)
    assert store.entries()


def test_what_only_reading_can_tell_is_read_but_not_observed_again(
    recipes: Recipes, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef rows():\n    return [{'x': np.full(16, i, np.float32)} for i in range(9)]\n"
    )
    rows = {"python": "mine:rows", "folder": str(tmp_path)}
    recipe = recipes.uncorrected.write("tiny_dense", ["int8"], calibration={"dataset": rows})
    keeping(recipe, store)
    assert done(keeping(recipe, store)) == {SAMPLES}


def test_files_are_the_same_when_made_again_with_other_shards(corrected_recipe: Path) -> None:
    ran = made_twice(corrected_recipe)
    assert {variant["name"]: variant["reproduced"] for variant in ran.report["variants"]} == {
        "float32": True,
        "dynamic": True,
        "int8": True,
    }


def test_a_given_file_is_not_made_again_and_the_report_says_so(recipe: Path) -> None:
    ran = made_twice(recipe)
    heard: list[Event] = []
    settings = Settings(listen=heard.append, verifies_reproducible=True)
    result = run(load(recipe), settings, ran.file("float32"))
    stages = [event.stage for event in heard if isinstance(event, Started)]
    assert not [stage for stage in stages if "int8" in stage or "dynamic" in stage]
    (variant,) = result.variants
    assert variant.is_reproduced is None
    assert any(
        said.startswith(f"not checked for the same bytes after a second conversion: {variant.name}; ")
        for said in result.warnings
    )


def test_missing_data_is_told_where_the_model_is_kept(recipe: Path, store: Store) -> None:
    keeping(recipe, store)
    change(recipe, calibration={"dataset": {"npz": "nowhere.npz"}, "samples": 20})
    error = keeping(recipe, store).variant("int8").error
    assert isinstance(error, DatasetError)
    assert "nowhere.npz: cannot be read: No such file or directory" in str(error)
