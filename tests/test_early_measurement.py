"""The source and a slow float32 file run before the files to measure are made; the figures stay the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tasks
from running import Ran, Recipes
from test_evaluate import ROWS, evaluation, fields, nothing, plan  # noqa: F401

from tflq.evaluate import recorded as recorded_outputs
from tflq.evaluate.measuring import measure
from tflq.evaluate.plan import EvaluationPlan
from tflq.evaluate.recorded import FLOAT32, record_outputs
from tflq.evaluate.section import Evaluation

SOURCE_STAGE, FLOAT32_STAGE = "measure the source", "run the float32 file on evaluation samples"
MODES = ["float32", "int8"]


@pytest.fixture
def plain(evaluation: Evaluation, all_modes: Ran) -> EvaluationPlan:  # noqa: F811
    """A plan without recorded outputs."""
    return plan(evaluation, all_modes)


def figures(ran: Ran) -> list[object]:
    return [variant.measured for variant in ran.result.variants] + [ran.report["baseline"]]


@pytest.mark.parametrize("recorded", [range(ROWS), range(0, ROWS, 2), range(0)], ids=["all", "some", "none"])
def test_recorded_outputs_give_the_same_record(
    plain: EvaluationPlan,
    tmp_path: Path,
    recorded: range,
) -> None:
    folder = tmp_path / "outputs"
    assert record_outputs(nothing, plain, FLOAT32, recorded, folder)
    expected = fields(measure(nothing, plain, range(ROWS)))
    found = fields(measure(nothing, replace(plain, recorded={FLOAT32: folder}), range(ROWS)))
    assert [name for name in expected if not np.array_equal(expected[name], found[name])] == []


def test_a_recorded_file_is_not_run(
    plain: EvaluationPlan,
    tmp_path: Path,
) -> None:
    """The recorded outputs are those of another file, and the record is, too."""
    folder = tmp_path / "outputs"
    record_outputs(nothing, plain, "int8_only", range(ROWS), folder)
    measured = measure(nothing, replace(plain, recorded={"dynamic": folder}), range(ROWS))
    np.testing.assert_array_equal(measured["dynamic"].errors["scores"], measured["int8_only"].errors["scores"])


def test_outputs_of_other_samples_are_not_used(
    plain: EvaluationPlan,
    tmp_path: Path,
) -> None:
    """A dataset that draws its samples at random yields others the next time."""
    folder = tmp_path / "outputs"
    record_outputs(nothing, plain, FLOAT32, range(ROWS), folder)
    images = np.random.default_rng(1).normal(0, 1, (ROWS, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", image=images, label=np.zeros(ROWS, int))
    expected = fields(measure(nothing, plain, range(ROWS)))
    found = fields(measure(nothing, replace(plain, recorded={FLOAT32: folder}), range(ROWS)))
    assert [name for name in expected if not np.array_equal(expected[name], found[name])] == []


def test_large_outputs_are_not_recorded(
    plain: EvaluationPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tflq.evaluate.recorded.MAX_RECORDED_BYTES", (ROWS + 1) * 16 - 1)
    assert not record_outputs(nothing, plain, FLOAT32, range(ROWS), tmp_path / "outputs")
    assert not (tmp_path / "outputs").exists()


def test_the_source_runs_beside_its_conversion(recipes: Recipes) -> None:
    ran = recipes.run("small_weights", MODES)
    assert ran.stages.index(SOURCE_STAGE) < ran.stages.index("check float32 baseline")
    assert ran.stages.count(SOURCE_STAGE) == 1
    assert ran.report["baseline"]["fidelity"]


@pytest.mark.parametrize("failing", [tasks.records_nothing, tasks.fails_to_run])
def test_a_float32_file_that_is_not_recorded_runs_later(
    recipes: Recipes, monkeypatch: pytest.MonkeyPatch, failing: Callable[..., bool]
) -> None:
    expected = figures(recipes.run("small_weights", MODES))
    monkeypatch.setattr("tflq.stages.early_measurement.MIN_MULTIPLY_ADDS", 0)
    recorded = recipes.run("small_weights", MODES)
    assert FLOAT32_STAGE in recorded.stages
    assert figures(recorded) == expected
    monkeypatch.setattr(recorded_outputs, "record_outputs", failing)
    later = recipes.run("small_weights", MODES)
    assert figures(later)[:2] == expected[:2]


def test_a_source_of_large_outputs_runs_when_files_are_measured(
    recipes: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = figures(recipes.run("small_weights", MODES))
    monkeypatch.setattr(recorded_outputs, "record_outputs", tasks.records_nothing)
    assert figures(recipes.run("small_weights", MODES)) == expected


def test_a_source_that_cannot_run_leaves_the_files_measured(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_outputs, "record_outputs", tasks.fails_to_run)
    ran = recipes.run("small_weights", MODES)
    assert ran.codes == {"float32": 0, "int8": 0}
    assert all(variant.measured for variant in ran.result.variants)
    assert "measure the source: ValueError: there is no kernel" in ran.page
