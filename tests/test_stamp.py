"""What must be made again, and why: told by content, not by dates."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tflq import cache
from tflq.batch import stamp
from tflq.batch.plan import PlannedModel, Planner
from tflq.batch.stamp import Fingerprints
from tflq.batch.zoo import collect
from tflq.errors import SourceError
from tflq.training.schema import Training

ROWS = "def rows():\n    yield {}\n"
MADE = ("net-int8.tflite", "report.json")


class Shop:
    """A recipe, its model and data, and outputs that look as if it had been made."""

    def __init__(self, folder: Path, calibration: str = "{npz: data.npz}") -> None:
        self.folder, self.recipe = folder, folder / "net.yaml"
        (folder / "net/variables").mkdir(parents=True)
        (folder / "net/saved_model.pb").write_bytes(b"graph")
        (folder / "net/variables/variables.index").write_bytes(b"weights")
        np.savez(folder / "data.npz", x=np.zeros(3))
        (folder / "rows.py").write_text(ROWS)
        self.write(calibration)

    def write(self, calibration: str = "{npz: data.npz}", more: str = "") -> None:
        self.recipe.write_text(f"model: net\nmode: int8\ncalibration: {{dataset: {calibration}}}\n{more}")

    @property
    def output(self) -> Path:
        return self.folder / "build/net"

    def work(self, force: bool = False) -> PlannedModel:
        (work,) = Planner().plan(collect([self.recipe]).items, force)
        return work

    def make(self, again: str = "") -> None:
        planner = Planner()
        (work,) = planner.plan(collect([self.recipe]).items)
        self.output.mkdir(parents=True, exist_ok=True)
        for name in MADE:
            (self.output / name).write_text(name)
        planner.settle(work, MADE, again)

    @property
    def why(self) -> str:
        return self.work().why


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    assert made.why == "never made by a batch"
    made.make()
    assert made.why == ""
    return made


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda shop: (shop.folder / "net/saved_model.pb").write_bytes(b"other"), "changed: ../../net/saved_model.pb"),
        (lambda shop: (shop.folder / "net/assets.txt").touch(), "the input changed: ../../net/assets.txt"),
        (
            lambda shop: (shop.folder / "net/variables/variables.index").unlink(),
            "changed: ../../net/variables/variables",
        ),
        (lambda shop: np.savez(shop.folder / "data.npz", x=np.ones(3)), "the input changed: ../../data.npz"),
        (lambda shop: shop.write(more="gates: {min_sqnr_db: 9}"), "the recipe changed: gates"),
        (lambda shop: shop.write("{random: {}}"), "the recipe changed: calibration"),
        (lambda shop: (shop.output / MADE[0]).unlink(), "the output was changed or removed: net-int8.tflite"),
        (lambda shop: (shop.output / MADE[0]).write_text("x"), "the output was changed or removed: net-int8.tflite"),
        (lambda shop: [(shop.output / name).unlink() for name in MADE], "removed: net-int8.tflite and 1 more"),
        (lambda shop: (shop.output / "stamp.json").unlink(), "never made by a batch"),
        (lambda shop: (shop.output / "stamp.json").write_text("{"), "never made by a batch"),
        (lambda shop: (shop.output / "stamp.json").write_text("[]"), "never made by a batch"),
        (lambda shop: shop.make(again="int8: it crashed"), "failed last time: int8: it crashed"),
    ],
)
def test_what_changed_is_made_again(shop: Shop, change: Callable[[Shop], object], why: str) -> None:
    change(shop)
    assert shop.why.endswith(why) or why in shop.why
    shop.make()
    assert shop.why == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: os.utime(shop.folder / "data.npz", (1, 1)),
        lambda shop: shop.write(more="# a comment\ngates: {}\n"),
        lambda shop: (
            shutil.copy2(shop.folder / "data.npz", shop.folder / "copy")
            and (shop.folder / "copy").replace(shop.folder / "data.npz")
        ),
        lambda shop: (shop.folder / "unrelated.txt").touch(),
        lambda shop: (shop.output / "tflq.log").write_text("said"),
    ],
)
def test_what_is_as_it_was_is_not(shop: Shop, change: Callable[[Shop], object]) -> None:
    change(shop)
    assert shop.why == ""


def test_names_of_files_from_elsewhere_are_kept(shop: Shop) -> None:
    """As of an archive whose names are in Latin-1."""
    (shop.folder / "net" / os.fsdecode(b"caf\xe9.txt")).touch()
    shop.make()
    assert shop.why == ""


def test_the_whole_may_be_moved(shop: Shop) -> None:
    moved = shop.folder.with_name("moved")
    shutil.copytree(shop.folder, moved)
    (work,) = Planner().plan(collect([moved / "net.yaml"]).items)
    assert work.why == ""


@pytest.mark.parametrize("package", ["tensorflow", "pillow"])
def test_another_version_makes_it_again(shop: Shop, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    before = cache.versions(trains=False)

    def later(trains: bool) -> dict[str, str]:
        return before | {package: "9.9"}

    monkeypatch.setattr(cache, "versions", later)
    assert shop.why == f"{package} is 9.9 now, was {before[package]}"


def test_what_trains_models_decides_only_where_there_is_training(shop: Shop) -> None:
    trainer = "tensorflow-model-optimization"
    (item,) = collect([shop.recipe]).items
    assert trainer not in stamp.build_inputs(item.recipe, Fingerprints()).versions
    training = {"dataset": {"npz": "rows.npz"}, "label": "y", "techniques": ["prune"]}
    taught = item.recipe.model_copy(update={"training": Training.model_validate(training)})
    assert stamp.build_inputs(taught, Fingerprints()).versions == cache.versions(trains=True)
    assert trainer in cache.versions(trains=True)


def test_force(shop: Shop) -> None:
    assert shop.work(force=True).why == "--force was given"


def test_a_change_while_it_was_made_is_not_missed(shop: Shop) -> None:
    (shop.output / "stamp.json").unlink()
    planner = Planner()
    (work,) = planner.plan(collect([shop.recipe]).items)
    np.savez(shop.folder / "data.npz", x=np.ones(3))
    planner.settle(work, MADE, "")
    assert shop.why == "the input changed: ../../data.npz"


def test_files_that_did_not_change_are_not_read_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = cache.sha256
    monkeypatch.setattr(cache, "sha256", lambda path: read.append(path.name) or whole(path))
    time.sleep(0.2)  # what was written a moment ago is not trusted
    assert shop.why == ""
    read.clear()
    assert shop.why == ""
    assert read == []
    os.utime(shop.folder / "data.npz")
    time.sleep(0.2)
    assert shop.why == ""
    assert read == ["data.npz"]


def test_a_file_of_the_same_size_and_date_is_read_again(shop: Shop) -> None:
    time.sleep(0.2)
    assert shop.why == ""
    path = shop.folder / "net/saved_model.pb"
    date = path.stat().st_mtime_ns
    path.write_bytes(b"hparg")
    os.utime(path, ns=(date, date))
    assert shop.why == "the input changed: ../../net/saved_model.pb"


@pytest.mark.parametrize("days", [-15_000, 15_000])
def test_dates_of_a_wrong_clock_decide_nothing(shop: Shop, days: int) -> None:
    """A clock that is set back makes files of the future; one that forgot its date makes files of 1985."""
    path, output = shop.folder / "net/saved_model.pb", shop.output / MADE[0]
    date = (time.time() + days * 24 * 3600,) * 2
    for file in (path, output, shop.output / stamp.FILE):
        os.utime(file, date)
    assert shop.why == ""
    assert shop.why == ""
    path.write_bytes(b"hparg")
    os.utime(path, date)
    assert shop.why == "the input changed: ../../net/saved_model.pb"


def test_a_file_that_cannot_be_read_is_an_input_all_the_same(shop: Shop) -> None:
    """Its model is made again, and then its error is told; the plan of the others goes on."""
    path = shop.folder / "net/saved_model.pb"
    path.unlink()
    path.symlink_to("/proc/self/mem")
    assert shop.why == "the input changed: ../../net/saved_model.pb"
    with pytest.raises(SourceError, match="cannot be read: "):
        cache.contents(shop.folder / "net")


def test_code_of_the_users_own_is_an_input(tmp_path: Path) -> None:
    shop = Shop(tmp_path, '{python: "rows:rows"}')
    shop.make()
    assert shop.why == ""
    (tmp_path / "rows.py").write_text(ROWS.replace("{}", "{'x': 1}"))
    assert shop.why == "the input changed: ../../rows.py"


def test_all_code_of_a_package_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "own/deep").mkdir(parents=True)
    for name in ("__init__", "rows", "deep/more"):
        (tmp_path / f"own/{name}.py").write_text(ROWS)
    shop = Shop(tmp_path, '{python: "own.rows:rows"}')
    shop.make()
    (tmp_path / "own/deep/more.py").write_text("")
    assert shop.why == "the input changed: ../../own/deep/more.py"


def test_a_metric_of_the_users_own_is_an_input(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    evaluation = 'evaluation: {dataset: {npz: data.npz}, label: y, metric: {python: "rows:rows"}}'
    shop.write(more=evaluation)
    shop.make()
    (tmp_path / "rows.py").write_text("")
    assert shop.why == "the input changed: ../../rows.py"


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("{tfds: nothing_of_that_name, split: train, data_dir: none}", "is not prepared on this machine yet"),
        ('{python: "no_such_module_here:rows"}', "Python finds no module 'no_such_module_here'"),
        ("{images: none}", "none"),
    ],
)
def test_data_that_nobody_can_tell_of_is_read_again(tmp_path: Path, dataset: str, words: str) -> None:
    shop = Shop(tmp_path, dataset)
    shop.make()
    assert shop.why.startswith("it is unknown whether the data changed: ")
    assert words in shop.why


def test_a_dataset_that_the_run_prepares_counts_as_what_it_was_made_of(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "{tfds: own, split: train, data_dir: tfds}")
    planner = Planner()
    (work,) = planner.plan(collect([shop.recipe]).items)
    shop.output.mkdir(parents=True)
    (tmp_path / "tfds/own/1.0.0").mkdir(parents=True)
    (tmp_path / "tfds/own/1.0.0/rows").touch()
    planner.settle(work, (), "")
    assert shop.why == ""


def test_outputs_that_cannot_be_written_can_be_up_to_date(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    time.sleep(0.2)
    monkeypatch.setattr(cache, "write", refuse)
    assert shop.why == ""
