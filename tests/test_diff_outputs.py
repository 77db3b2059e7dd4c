"""Outputs of two files on the data of a recipe, and two output folders with their reports."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from running import Ran, Recipes, run_recipe

from tflq.cli import main
from tflq.flatbuffer import edit


@dataclass(frozen=True)
class Converted:
    """A recipe and what its run left behind."""

    recipe: Path
    ran: Ran

    def diff(self, before: str | Path, after: str | Path, *options: str | Path) -> Result:
        """Compare two files, or two variants by their names."""
        paths = [self.ran.file(each) if isinstance(each, str) else each for each in (before, after)]
        return CliRunner().invoke(main, ["diff", *map(str, [*paths, *options])])

    def outputs(self, before: str | Path, after: str | Path, *options: str | Path) -> Any:
        said = self.diff(before, after, "--recipe", self.recipe, "--json", *options)
        assert said.exit_code == 0, said.output
        return json.loads(said.stdout)["files"][0]["outputs"]


@pytest.fixture(scope="module")
def converted(recipes: Recipes, data: Path) -> Converted:
    rows = {"npz": str(data / "images.npz")}
    evaluation = {"dataset": rows, "samples": 16, "label": "label", "metric": "top1"}
    recipe = recipes.uncorrected.write("tiny_conv", ["float32", "int8"], evaluation=evaluation)
    return Converted(recipe, run_recipe(recipe))


@pytest.fixture
def other(converted: Converted, tmp_path: Path) -> Path:
    """The output folder of a run whose int8 file has other scores."""
    folder = tmp_path / "other"
    shutil.copytree(converted.ran.output, folder)
    file = folder / converted.ran.file("int8").name
    model = edit.unpack(file.read_bytes())
    dense = next(op for op in converted.ran.graph("int8").subgraphs[0].operators if op.type == "FULLY_CONNECTED")
    stored = model.buffers[model.subgraphs[0].tensors[dense.inputs[1]].buffer]
    stored.data = np.full(len(stored.data), 100, np.uint8)
    edit.write(model, file)
    return folder


def test_outputs_are_those_of_the_report(converted: Converted) -> None:
    """The report compares int8 with the float32 file on the same samples, and so does this."""
    outputs = converted.outputs("float32", "int8")
    reported = next(variant for variant in converted.ran.report["variants"] if variant["name"] == "int8")
    assert outputs["fidelity"]["scores"] == reported["fidelity"]["scores"]
    assert outputs["metric"] == reported["metric"]
    assert outputs["samples"] == 16
    assert outputs["metric_before"] == pytest.approx(outputs["metric"]["value"] + outputs["metric"]["drop"])


def test_file_has_the_outputs_of_its_copy(converted: Converted, tmp_path: Path) -> None:
    copy = shutil.copy(converted.ran.file("int8"), tmp_path / "copy.tflite")
    model = edit.unpack(Path(copy).read_bytes())
    model.description = b"a copy"
    edit.write(model, Path(copy))
    said = converted.diff("int8", Path(copy), "--recipe", converted.recipe, "--gate", "min_sqnr_db=100")
    assert said.exit_code == 0, said.output
    assert "only names, metadata or the order of bytes differ; same outputs on 16 samples." in said.stdout


@pytest.mark.parametrize(
    ("gates", "exit_code"),
    [
        (["min_sqnr_db=5", "min_agreement=0.5", "max_metric_drop=0.9", "max_dead_channels=0"], 0),
        (["min_sqnr_db=90", "max_changed_ops=1", "max_size_ratio=0.1"], 1),
    ],
)
def test_gates_of_outputs(gates: list[str], exit_code: int, converted: Converted) -> None:
    options = [part for gate in gates for part in ("--gate", gate)]
    said = converted.diff("float32", "int8", "--recipe", converted.recipe, *options)
    assert said.exit_code == exit_code, said.output
    assert "| top1" not in said.stdout
    assert "top1 0." in said.stdout.splitlines()[0]
    assert said.stdout.count("| no |") == (len(gates) if exit_code else 0)


def test_gate_without_a_metric_fails(converted: Converted) -> None:
    options = [
        "--recipe",
        converted.recipe,
        "--set",
        "evaluation.metric=null",
        "--set",
        "evaluation.label=null",
        "--gate",
        "max_metric_drop=1",
    ]
    said = converted.diff("float32", "int8", *options)
    assert said.exit_code == 1
    assert "Failed: max_metric_drop could not be measured; the limit is 1." in said.stdout


def test_file_of_another_model_has_other_outputs(converted: Converted) -> None:
    stranger = Path(__file__).parent / "data/loop_float32.tflite"
    said = converted.diff("int8", stranger, "--recipe", converted.recipe, "--gate", "min_agreement=0")
    assert said.exit_code == 7
    assert "The outputs cannot be compared: the inputs have other names, image and x," in said.stdout
    assert "Failed: min_agreement could not be measured" in said.stdout


def test_file_that_cannot_be_run_is_named(converted: Converted, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    model = edit.unpack(converted.ran.file("int8").read_bytes())
    model.subgraphs[0].operators[1].inputs[1] = model.subgraphs[0].operators[1].inputs[0]
    edit.write(model, broken)
    said = converted.diff("int8", broken, "--recipe", converted.recipe)
    assert said.exit_code == 7
    assert "The outputs cannot be compared: broken.tflite: LiteRT" in said.stdout
    assert "op changed" in said.stdout


def test_folders_are_compared_by_variant(converted: Converted, other: Path) -> None:
    said = converted.diff(converted.ran.output, other, "--recipe", converted.recipe)
    assert said.exit_code == 0, said.output
    first, *lines = said.stdout.splitlines()
    assert first.startswith("**2 variants compared: 1 identical. int8: ")
    assert "## int8" in lines
    assert lines[lines.index("## float32") + 2] == "Identical: both files have the same bytes."
    assert any("1 constant changed; top1" in line for line in lines)
    assert not any(line.startswith("### Recipe") for line in lines)


def test_other_settings_are_told(converted: Converted, other: Path) -> None:
    report = json.loads((other / "report.json").read_text())
    report["recipe"]["calibration"]["samples"] = 99
    report["environment"]["tensorflow"] = "3.0.0"
    (other / "report.json").write_text(json.dumps(report))
    plain = json.loads(converted.diff(converted.ran.output, other, "--json").stdout)
    assert [(each["name"], each["after"]) for each in plain["settings"]] == [
        ("calibration.samples", "99"),
        ("version of tensorflow", "3.0.0"),
    ]


def test_variant_that_is_missing_fails_all_gates(converted: Converted, other: Path) -> None:
    (other / converted.ran.file("int8").name).unlink()
    (other / "report.json").unlink()
    (converted_files := other.parent / "files").mkdir()
    for name in ("float32", "int8"):
        shutil.copy(converted.ran.file(name), converted_files)
    said = converted.diff(converted_files, other)
    assert said.exit_code == 0
    assert "1 only in the first folder" in said.stdout.splitlines()[0]
    assert converted.diff(converted_files, other, "--gate", "max_size_ratio=2").exit_code == 1
    assert converted.diff(other, converted_files, "--gate", "max_size_ratio=2").exit_code == 0


def test_damaged_file_does_not_hide_the_others(converted: Converted, other: Path) -> None:
    (other / converted.ran.file("int8").name).write_bytes(b"nothing")
    said = converted.diff(converted.ran.output, other)
    assert said.exit_code == 7
    assert "Cannot be compared: " in said.stdout
    assert "not a .tflite file" in said.stdout
    assert "Identical: both files have the same bytes." in said.stdout


def test_report_of_another_version_is_refused(converted: Converted, other: Path) -> None:
    (other / "report.json").write_text(yaml.safe_dump({"variants": []}))
    said = converted.diff(converted.ran.output, other)
    assert said.exit_code == 2
    assert "report.json: this is not a report of this version of tflq: convert again" in said.stderr
