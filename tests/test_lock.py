"""tflq.lock, and `tflq verify`, which compares it with the files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from results import RESULT
from running import run_recipe

from tflq import lock
from tflq.cli import main
from tflq.lock import LockedFile, figure_differences
from tflq.result import FileFigures, Output


@pytest.fixture(scope="module")
def made(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its data, a recipe and the files of a run."""
    folder = tmp_path_factory.mktemp("lock")
    shutil.copytree(models / "tiny_dense", folder / "net")
    np.savez(folder / "data.npz", x=np.random.default_rng(0).normal(0, 1, (40, 16)).astype(np.float32))
    recipe = {
        "model": "net",
        "variants": ["float16", "int8"],
        "calibration": {"dataset": {"npz": "data.npz"}, "samples": 20},
        "converter": {"bias_correction": "off"},
        "latency": "off",
    }
    (folder / "net.yaml").write_text(yaml.safe_dump(recipe))
    run_recipe(folder / "net.yaml")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which a test may change things."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", "net.yaml", *arguments], prog_name="tflq")


def test_what_did_not_change_is_verified_wherever_it_is(folder: Path) -> None:
    said = verify()
    assert said.exit_code == 0, said.output
    assert said.output == "2 files and what they rest on are as build/net/tflq.lock says\n"


def test_the_lock_is_small_and_the_same_for_the_same_run(folder: Path) -> None:
    text = (folder / "build/net/tflq.lock").read_text()
    assert len(text.splitlines()) < 60
    run_recipe(folder / "net.yaml")
    assert (folder / "build/net/tflq.lock").read_text() == text


@pytest.mark.slow
def test_the_figures_are_measured_again(folder: Path) -> None:
    assert verify("--measure").exit_code == 0
    path = folder / "build/net/tflq.lock"
    text = path.read_text()
    found = lock.read(folder / "build/net")
    (before,) = found.files["net-int8.tflite"].sqnr_db.values()
    path.write_text(text.replace(str(before), str(before + 9)))
    said = verify("--measure")
    assert said.exit_code == 1
    assert f"has an SQNR of {before:.1f} dB, and had {before + 9:.1f} dB" in said.output


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("build/net/net-int8.tflite", "build/net/net-int8.tflite: the file is not the one that was made"),
        ("net/saved_model.pb", "net: the model has changed since the files were made"),
        ("data.npz", "the data: calibration has changed since the files were made"),
    ],
)
def test_what_changed_is_named(folder: Path, path: str, message: str) -> None:
    spoil(folder / path)
    said = verify()
    assert said.exit_code == 1
    assert said.stdout.splitlines() == [message, "1 difference from build/net/tflq.lock"]


def test_a_file_that_is_missing_and_a_recipe_that_changed(folder: Path) -> None:
    (folder / "build/net/net-float16.tflite").unlink()
    said = verify("--set", "calibration.samples=30", "--json")
    assert said.exit_code == 1
    messages = [each["message"] for each in json.loads(said.stdout)["differences"]]
    assert messages == ["the file is missing", "calibration has changed since the files were made"]


def test_other_versions_are_a_note(folder: Path) -> None:
    path = folder / "build/net/tflq.lock"
    path.write_text(path.read_text().replace("tensorflow: 2.21.0", "tensorflow: 2.20.0"))
    said = verify()
    assert said.exit_code == 0
    assert said.stderr == "note: tensorflow: is 2.21.0 here, and was 2.20.0 when the files were made\n"


def test_a_file_that_was_never_right_stays_so(folder: Path) -> None:
    path = folder / "build/net/tflq.lock"
    path.write_text(path.read_text().replace("exit_code: 0", "exit_code: 6", 1))
    assert verify().exit_code == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file: tflq convert writes it beside the .tflite files"),
        ("schema_version: 9\n", "has the schema version 9, not 1: convert again to renew it"),
        ("- x\n", "has the schema version None, not 1: convert again to renew it"),
    ],
)
def test_a_lock_that_cannot_be_read(folder: Path, text: str | None, message: str) -> None:
    path = folder / "build/net/tflq.lock"
    path.unlink() if text is None else path.write_text(text)
    said = verify()
    assert (said.exit_code, said.stderr) == (2, f"error: build/net/tflq.lock: {message}\n")


def test_figures_within_their_intervals_are_the_same() -> None:
    variant = next(variant for variant in RESULT.variants if variant.measured and variant.measured.metric)
    assert variant.measured
    assert variant.measured.metric
    value = variant.measured.metric.value
    locked = LockedFile(sha256="", size_bytes=1, exit_code=0, metric=value - 0.01, metric_reach=0.01)
    assert not list(figure_differences("a", locked, variant))
    (worse,) = figure_differences("a", locked.model_copy(update={"metric": value + 0.02}), variant)
    assert worse.message == f"top1 is {value:.4f}, and was {value + 0.02:.4f}"
    noisy = FileFigures(10, None, {"y": Output(20.0, 1.0, 0.1, 0.1, None)}, None)
    locked = LockedFile(sha256="", size_bytes=1, exit_code=0, sqnr_db={"y": 20.6})
    (found,) = figure_differences("a", locked, replace(variant, measured=noisy))
    assert found.message == "output 'y' has an SQNR of 20.0 dB, and had 20.6 dB"
