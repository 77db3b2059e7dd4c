"""What a new user runs first: the digits example from nothing, and every recipe of configs/ over it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, IS_CI, faults, needs_browser
from compiling import needs_compiler

from tflq.recipe import load

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
MODES = ["float32", "dynamic", "float16", "int8", "int8_only", "int16x8", "int16x8_only"]

every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)


def python(folder: Path, *arguments: str | Path) -> str:
    """What the program prints there; its standard error must stay empty."""
    ran = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    return ran.stdout


def tflq(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from tflq.cli import main; main(prog_name='tflq')"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of examples/ and configs/ in which the digits example was trained, from nothing."""
    folder = copy_to(tmp_path_factory.mktemp("clone"), "examples", "configs")
    assert "accuracy" in python(folder, "-m", "examples.digits.train")
    python(folder, "-W", "ignore", "-c", KINDS, folder / "examples/digits")
    return folder


def copy_to(folder: Path, *names: str) -> Path:
    """The folder, with those of the repository in it, and nothing that was made there."""
    for name in names:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("build", "__pycache__"))
    return folder


@pytest.mark.slow
@needs_compiler
def test_source_for_microcontrollers_answers_as_the_file(digits: Path) -> None:
    ran = tflq("convert", digits / "examples/micro/recipe.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = python(digits, "-m", "examples.micro.check")
    assert "the array in C++ is the .tflite file" in told
    assert "3 golden vectors, the largest difference is 0 of 255 steps" in told


KINDS = """\
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow's native code is never quite silent
sys.path.insert(0, sys.argv[1])
import other_kinds
other_kinds.main()
"""


@every_config
def test_every_config_loads_and_starts_with_the_schema(config: Path) -> None:
    assert config.read_text().startswith("# yaml-language-server: $schema=tflq.schema.json\n")
    assert load(config).variants


@pytest.mark.parametrize("mode", [*MODES, "weights8"])
def test_every_mode_has_a_short_config(mode: str) -> None:
    config = ROOT / f"configs/{mode}.yaml"
    assert [variant.mode for variant in load(config).variants] == [mode]
    assert len(config.read_text().splitlines()) <= 15


@pytest.fixture(scope="module")
def converted(digits: Path) -> tuple[Path, Any]:
    """The output folder of the digits example, and the report that the command printed."""
    ran = tflq("convert", digits / "examples/digits/recipe.yaml", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    return digits / "examples/digits/build/tflite", json.loads(ran.stdout)


@pytest.mark.slow
def test_the_digits_example_is_as_good_in_every_mode(converted: tuple[Path, Any]) -> None:
    _, report = converted
    assert [variant["mode"] for variant in report["variants"]] == MODES
    assert report["baseline"]["source_metric"] > 0.95
    for variant in report["variants"]:
        assert (variant["status"], variant["violations"]) == ("ok", [])
        assert variant["metric"]["drop"] <= 0.01
        assert variant["size_ratio"] < 0.6 or variant["mode"] == "float32"


@pytest.mark.slow
@needs_browser
def test_the_pages_of_the_digits_example_and_of_a_zoo(converted: tuple[Path, Any], zoo: Path) -> None:
    pages = [converted[0] / "report.html", *zoo.glob("build/*/report.html")]
    assert len(pages) == 4
    assert {page.parent.name: faults(page) for page in pages} == {page.parent.name: [] for page in pages}


@pytest.mark.slow
def test_the_example_of_the_python_api(digits: Path) -> None:
    said = python(digits, "-m", "examples.api").splitlines()
    assert "convert int8: done" in said
    assert [line.split()[:2] for line in said[-4:-1]] == [["float32", "ok"], ["dynamic", "ok"], ["int8", "ok"]]
    assert said[-1].startswith("ship int8, from ")
    assert (digits / "examples/digits/build/api/digits-int8.tflite").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["net.keras", "net.h5"])
def test_training_wins_back_what_int8_loses(spread: Path, model: str) -> None:
    """From a Keras 3 archive, whose layers are rebuilt, and from the file of Keras 2."""
    options = ("--set", f"model.keras=build/{model}", "--only", "int8", "--only", "qat_int8")
    ran = tflq("convert", spread / "recipe.yaml", *options, "--output", spread / model, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    int8, learned = json.loads(ran.stdout)["variants"]
    assert int8["metric"]["drop"] > 0.1
    assert learned["gain"]["against"] == "int8"
    assert learned["gain"]["share"] > 0.5
    if CHROMIUM or IS_CI:
        assert faults(spread / model / "report.html") == []


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example whose channels differ in magnitude, trained from nothing."""
    folder = copy_to(tmp_path_factory.mktemp("qat"), "examples")
    assert "with its channels spread" in python(folder, "-m", "examples.qat.train")
    return folder / "examples/qat"


@pytest.mark.slow
def test_every_config_runs(digits: Path) -> None:
    ran = tflq("convert", *(digits / "configs" / config.name for config in CONFIGS), "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    reports = {report["name"]: report for report in json.loads(ran.stdout)}
    assert list(reports) == [config.stem for config in CONFIGS]
    kinds = [
        report
        for name, report in reports.items()
        if name.startswith("dataset-") and report["baseline"]["source_metric"]
    ]
    assert len(kinds) == 5
    assert all(report["baseline"]["source_metric"] > 0.95 for report in kinds)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -c \"from tflq.cli import main; main(prog_name='tflq')\""
    settings = [f"TFLQ={command}", f"PYTHON={sys.executable}"]
    return subprocess.run(["make", "-C", folder, *settings, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a copy of the example of a zoo, made."""
    zoo = copy_to(tmp_path_factory.mktemp("zoo"), "examples") / "examples/zoo"
    first = make(zoo, "-j2")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Models: 3 up to date." in first.stdout
    return zoo


@pytest.mark.slow
def test_the_zoo_is_made_by_make(zoo: Path) -> None:
    assert json.loads((zoo / "build/summary.json").read_text())["exit_code"] == 0
    with (zoo / "mlp.yaml").open("a") as recipe:
        recipe.write("converter: {per_channel: false}\n")
    (zoo / "build/test.npz").touch()
    second = make(zoo)
    begun = [line.partition(": started: ")[0::2] for line in second.stderr.splitlines() if ": started: " in line]
    changed = "the recipe changed: variants, converter"
    assert begun == [("mlp", changed), ("mlp_dynamic_batch", changed)]
    third = make(zoo)
    assert ": started: " not in third.stderr
    assert "Models: 3 up to date." in third.stdout
