"""Each file is measured on as many samples as its figures need to be precise, and on no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from running import Ran, Recipes, run_recipe
from test_evaluate import IMAGE, fields, nothing, source

from tflq.errors import TflqError
from tflq.evaluate.measuring import measure
from tflq.evaluate.plan import EvaluationPlan, EvaluationRows, stack
from tflq.evaluate.record import Record
from tflq.evaluate.recorded import FLOAT32
from tflq.metrics.estimate import estimate_agreement, estimate_sqnr_db
from tflq.pipeline import Settings, run
from tflq.recipe import Gates, load
from tflq.scores import outputs
from tflq.stages import measurement_budget
from tflq.stages.measurement_budget import MAX_SAMPLES, MIN_SAMPLES, MeasurementBudget, budget_of
from tflq.stages.measurement_rounds import PlanBudget, measure_rounds
from tflq.worker import Done, Task

ROWS = 300


def budget(**gates: float) -> MeasurementBudget:
    return MeasurementBudget(range(5000), False, 5000, Gates.model_validate(gates))


def record(noise: np.ndarray, odds: np.ndarray | None = None) -> Record:
    """A record of one output with this noise and a signal of 1000 for each sample."""
    ones = np.ones(len(noise))
    rows = np.stack([1000 * ones, noise, ones, ones, ones, ones], 1)
    agreement = {} if odds is None else {"y": odds}
    return Record(np.zeros((len(noise), 0)), {"y": rows}, agreement, {"y": ones}, ones > 0, ones < 0)


def noise(count: int, deviation: float) -> np.ndarray:
    """Noise with a mean of 1 and exactly this standard deviation."""
    return 1 + deviation * np.where(np.arange(count) % 2, 1.0, -1.0)


def odds(count: int, lost: int) -> np.ndarray:
    return np.where(np.arange(count) < lost, 0.0, 1.0)


class TestNext:
    def test_is_the_count_if_the_figures_are_precise(self) -> None:
        assert budget().next(record(noise(20, 0.1)), 5000) == 20
        assert budget().next(record(noise(200, 0.5), odds(200, 0)), 5000) == 200

    @pytest.mark.parametrize(("deviation", "lost"), [(0.5, 0), (1.0, 0), (0.1, 0), (0.1, 2), (0.9, 1)])
    def test_is_enough_for_an_interval_of_the_promised_width(self, deviation: float, lost: int) -> None:
        """If the samples to come are like those before."""
        count, rounds = 20, 0
        while (more := budget().next(record(noise(count, deviation), odds(count, lost * count // 20)), 5000)) > count:
            count, rounds = more, rounds + 1
        sqnr_db = estimate_sqnr_db(record(noise(count, deviation)).errors["y"])
        agreement = estimate_agreement(odds(count, lost * count // 20))
        assert sqnr_db.high - sqnr_db.low <= 1
        assert agreement.value - agreement.low <= 0.02
        needed_for_sqnr = 20 * ((1.96 * 10 / math.log(10) * deviation / math.sqrt(20)) / 0.5) ** 2
        needed_for_agreement = {0: 139, 1: 460, 2: 870}[lost]
        assert count <= 1.2 * max(needed_for_sqnr, needed_for_agreement)
        assert rounds <= 3

    def test_is_at_most_the_limit_of_the_file(self) -> None:
        assert budget().next(record(noise(20, 1.0)), 60) == 60
        assert budget().next(record(noise(60, 1.0)), 60) == 60

    def test_is_the_count_for_equal_outputs(self) -> None:
        assert budget().next(record(np.zeros(20), odds(20, 0)), 5000) == 20

    def test_is_the_count_for_an_output_that_is_not_finite(self) -> None:
        assert budget().next(record(np.full(20, np.nan)), 5000) == 20

    def test_grows_while_a_gate_is_undecided(self) -> None:
        precise = record(noise(200, 0.2), odds(200, 1))
        assert budget().next(precise, 5000) == 200
        assert budget(min_sqnr_db=20).next(precise, 5000) == 200
        assert budget(min_sqnr_db=29.99).next(precise, 5000) > 200
        assert budget(min_agreement=0.9).next(precise, 5000) == 200
        assert budget(min_agreement=0.99).next(precise, 5000) > 200


class TestBudget:
    def test_of_a_slow_file_is_smaller_but_never_below_the_minimum(self) -> None:
        assert budget().most(0) == 5000
        assert budget().most(80_000_000) == 25
        assert budget().most(10**12) == MIN_SAMPLES

    def test_is_all_at_once_if_a_second_round_would_be_small(self) -> None:
        assert (budget().first(40), budget().first(41)) == (40, MIN_SAMPLES)

    @pytest.mark.parametrize(
        ("keys", "limit"),
        [
            ({}, MAX_SAMPLES),
            ({"evaluation": {"samples": 900}}, 900),
            ({"evaluation": {"samples": "all"}}, 900),
            ({"evaluation": {"samples": 900, "label": "x", "metric": "mae"}}, 900),
        ],
    )
    def test_of_a_recipe(self, tmp_path: Path, keys: dict[str, dict[str, object]], limit: int) -> None:
        made = budget_of(*self.recipe(tmp_path, keys))
        asks_for_all = keys.get("evaluation", {}).get("samples") == "all" or "metric" in keys.get("evaluation", {})
        assert (made.limit, made.measures_all) == (limit, asks_for_all)
        assert made.most(10**12) == (limit if asks_for_all else MIN_SAMPLES)
        assert sorted(made.order) == list(range(900))
        assert (list(made.order) == list(range(900))) == asks_for_all
        assert made == budget_of(*self.recipe(tmp_path, keys))

    def recipe(self, tmp_path: Path, keys: dict[str, dict[str, object]]) -> tuple[object, EvaluationRows]:
        rows = {"npz": "rows.npz"}
        plain = {"model": "net", "calibration": {"dataset": rows}, "mode": "int8"}
        plain |= {name: {"dataset": rows, **section} for name, section in keys.items()}
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(plain))
        return load(tmp_path / "r.yaml"), EvaluationRows(range(900), 900, {})


@pytest.fixture(scope="module")
def rows(recipes: Recipes) -> Path:
    """More rows than two rounds need."""
    random = np.random.default_rng(4)
    np.savez(recipes.data / "many.npz", image=random.normal(0, 1, (ROWS, 8, 8, 3)).astype(np.float32))
    return recipes.data / "many.npz"


def written(recipes: Recipes, rows: Path, **keys: object) -> Path:
    calibration = {"dataset": {"npz": str(rows)}, "samples": "all"}
    modes = ["float32", "int8", "int16x8"]
    return recipes.uncorrected.write("tiny_conv", modes, **({"calibration": calibration, "evaluation": None} | keys))


@pytest.fixture(scope="module")
def ran(recipes: Recipes, rows: Path) -> Ran:
    """Without an evaluation, by two workers."""
    return run_recipe(written(recipes, rows))


class TestRounds:
    """In this process, on files that are there already."""

    def records(self, ran: Ran, rows: Path, jobs: int) -> dict[str, Record]:
        recipe = load(ran.output.parent.parent / "recipe.yaml")
        order = budget_of(recipe, EvaluationRows(range(ROWS), ROWS, {})).order
        first = stack([{"image": np.load(rows)["image"][0]}], source(IMAGE))
        files = {name: ran.file(name) for name in ("int8", "int16x8")}
        plan = EvaluationPlan(recipe.measured_on, {}, source(IMAGE), ran.file("float32"), first, files)
        whole = MeasurementBudget(order, False, ROWS, Gates())
        found = measure_rounds(Inline(jobs), whole, {"measure": PlanBudget(plan, {"int8": ROWS, "int16x8": 25})})  # type: ignore[arg-type]
        assert not isinstance(found["measure"], TflqError)
        return found["measure"]

    def test_give_the_same_records_with_any_number_of_workers(self, ran: Ran, rows: Path) -> None:
        alone, three = (fields(self.records(ran, rows, jobs)) for jobs in (1, 3))
        assert [name for name in alone if not np.array_equal(alone[name], three[name])] == []

    def test_measure_all_files_on_the_first_samples_of_one_order(self, ran: Ran, rows: Path) -> None:
        records = self.records(ran, rows, 2)
        counts = {name: len(record.is_finite) for name, record in records.items()}
        assert counts["int16x8"] == 25 < counts["int8"] == counts[FLOAT32]
        power = records[FLOAT32].errors["scores"][:, 0]  # of the float32 file's output, which tells samples apart
        assert len(set(power.tolist())) == len(power)
        for name, record in records.items():
            assert np.array_equal(record.errors["scores"][:, 0], power[: counts[name]])


class Inline:
    """The parts of a run's context that measuring needs. Tasks run in this process."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.workers = jobs, self

    def run_all(self, tasks: Sequence[Task[Any]], _: int) -> list[Done[Any]]:
        return [Done(task.function(nothing, *task.arguments), 0.0, 0) for task in tasks]


def samples(ran: Ran) -> dict[str, int]:
    return {variant.name: variant.measured.samples for variant in ran.result.variants}


def test_a_run_measures_until_the_figures_are_precise(ran: Ran) -> None:
    assert ran.result.exit_code == 0, ran.page
    found = samples(ran)
    assert MIN_SAMPLES < found["int8"] < ROWS
    assert found["float32"] == max(found["int8"], found["int16x8"])
    assert ran.result.baseline.source_samples == MIN_SAMPLES
    assert ran.report["evaluation"]["samples"] == ROWS


def test_the_report_says_how_many_samples(ran: Ran) -> None:
    found = {variant["name"]: variant["samples"] for variant in ran.report["variants"]}
    assert found == samples(ran)
    assert {f"{count} of {ROWS}" in ran.page for count in found.values() if count < ROWS} == {True}
    assert f"{MIN_SAMPLES} of {ROWS}" in next(line for line in ran.page.splitlines() if line.startswith("| source |"))
    assert f"Measured on at most {ROWS} of {ROWS} samples" in ran.page


def test_figures_are_those_of_the_first_samples_in_the_order(ran: Ran, rows: Path) -> None:
    """Measured in one piece, in another process, of the rows that the order names."""
    recipe = load(ran.output.parent.parent / "recipe.yaml")
    order = budget_of(recipe, EvaluationRows(range(ROWS), ROWS, {})).order
    first = stack([{"image": np.load(rows)["image"][0]}], source(IMAGE))
    for name in ("int8", "int16x8"):
        files = {name: ran.file(name)}
        plan = EvaluationPlan(recipe.measured_on, {}, source(IMAGE), ran.file("float32"), first, files)
        alone = outputs(measure(nothing, plan, sorted(order[: samples(ran)[name]]))[name])["scores"]
        found = ran.variant(name).measured.fidelity["scores"]
        assert (found.sqnr_db, found.agreement) == pytest.approx((alone.sqnr_db, alone.agreement), rel=1e-12)


def test_figures_do_not_depend_on_the_number_of_workers(ran: Ran, recipes: Recipes, rows: Path) -> None:
    alone = run(load(written(recipes, rows)), Settings(jobs=1))
    assert {variant.name: variant.measured for variant in alone.variants} == {
        variant.name: variant.measured for variant in ran.result.variants
    }
    assert alone.baseline.fidelity == ran.result.baseline.fidelity


@pytest.mark.parametrize("count", ["all", 30])
def test_an_evaluation_measures_all_or_at_most_its_number(recipes: Recipes, rows: Path, count: int | str) -> None:
    evaluation = {"dataset": {"npz": str(rows)}, "samples": count}
    ran = run_recipe(written(recipes, rows, evaluation=evaluation))
    expected = ROWS if count == "all" else count
    assert set(samples(ran).values()) == {expected, ran.result.baseline.source_samples}
    assert ("| samples |" in ran.page) == (ran.result.baseline.source_samples < expected)


def test_a_slow_file_gets_fewer_samples_and_the_report_says_so(
    recipes: Recipes, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement_budget, "MAX_INT16_MULTIPLY_ADDS", 1)
    evaluation = {"dataset": {"npz": str(rows)}, "samples": 30}
    ran = run_recipe(written(recipes, rows, evaluation=evaluation))
    assert samples(ran) == {"float32": 30, "int8": 30, "int16x8": MIN_SAMPLES}
    row = next(line for line in ran.page.splitlines() if line.startswith("| int16x8 |"))
    assert f"| {MIN_SAMPLES} of 30 |" in row


def test_rows_of_unknown_number_are_measured_in_their_order(recipes: Recipes, tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        "import numpy as np\ndef rows():\n    random = np.random.default_rng(3)\n"
        "    for _ in range(50):\n        yield {'x': random.normal(0, 1, 16).astype(np.float32)}\n"
    )
    dataset = {"python": "endless:rows", "folder": str(tmp_path)}
    ran = recipes.uncorrected.run(
        "tiny_dense", ["int8"], evaluation=None, calibration={"dataset": dataset, "samples": 200}
    )
    assert ran.result.exit_code == 0, ran.page
    assert samples(ran)["int8"] in (MIN_SAMPLES, 50)
    assert ran.result.evaluation.samples == samples(ran)["int8"]
