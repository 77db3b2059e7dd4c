"""Trials: files quantized from stored ranges, and measured on stored samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from observing import nothing
from running import Recipes, run_recipe

from tflq.calibrate.schema import Percentile
from tflq.cost_model import work
from tflq.errors import ConversionError, DatasetError, RecipeError
from tflq.evaluate.record import Record
from tflq.flatbuffer import load as read
from tflq.metrics.bootstrap import student_t
from tflq.metrics.estimate import EQUAL_DB, Estimate
from tflq.modes import Dynamic, Int8, Int8Only, Int16x8
from tflq.pipeline import Settings
from tflq.recipe import Recipe, load
from tflq.trials import (
    CONFIRMATION,
    BudgetExhausted,
    Constraint,
    Measurements,
    OutputFidelity,
    Splits,
    Trial,
    TrialLimits,
    TrialRunner,
    open_trials,
)
from tflq.trials.measurements import FileFacts, output_fidelity
from tflq.trials.setup import JOURNAL
from tflq.trials.splits import choose_splits
from tflq.trials.stored_samples import StoredColumn, StoredSamples, _Writer, record, records
from tflq.trials.trial import spread
from tflq.worker import Event, Started

NO_LIMITS = TrialLimits()
MINMAX = Trial(Int8(), "minmax")
THREE = (MINMAX, Trial(Int8(), Percentile(percentile=99.0)), Trial(Int16x8(), "minmax"))


@contextmanager
def runner(recipe: Path, limits: TrialLimits = NO_LIMITS) -> Iterator[tuple[TrialRunner, list[Event]]]:
    events: list[Event] = []
    with open_trials(load(recipe), Settings(jobs=2, listen=events.append), limits) as made:
        yield made, events


def attempts(events: list[Event]) -> int:
    """How many files were made for trials."""
    return sum(isinstance(event, Started) and event.stage.startswith(("try ", "confirm ")) for event in events)


@pytest.fixture
def scored(recipes: Recipes) -> Path:
    rows = {"npz": str(recipes.data / "images.npz")}
    evaluation = {"dataset": rows, "samples": 8, "seed": 2, "label": "label", "metric": "top1"}
    return recipes.write("tiny_conv", ["int8", "int16x8"], evaluation=evaluation)


def test_a_trial_makes_what_convert_makes(scored: Path) -> None:
    ran = run_recipe(scored)
    with runner(scored) as (made, _):
        trials = made.run([MINMAX, Trial(Int16x8(), "minmax")])
    for mode, tried in zip(("int8", "int16x8"), trials, strict=True):
        file = ran.variant(mode).file
        assert file is not None
        assert tried.figures is not None
        assert (tried.figures.file.sha256, tried.figures.file.size_bytes) == (file.sha256, file.size_bytes)


def test_what_is_fitted_to_samples_is_made_once_for_all_methods_of_ranges(scored: Path) -> None:
    corrected = Int8(bias_correction="on", rounding="on", equalization="on", headroom=1.0)
    methods = ("minmax", Percentile(percentile=99.0), Percentile(percentile=90.0))
    with runner(scored) as (made, events):
        tried = made.run([Trial(corrected, method) for method in methods])
    stages = [event.stage for event in events if isinstance(event, Started)]
    assert stages.count("equalize the channels") == 1
    assert stages.count("round the weights of the equalized file, part 1") == 1
    assert len({one.figures.file.sha256 for one in tried if one.figures}) == len(methods)


def test_a_trial_measures_what_convert_measures(recipes: Recipes) -> None:
    """Of a dataset with as many rows as are asked for twice, the confirmation rows are those of the report."""
    rows = {"npz": str(recipes.data / "images.npz")}
    calibration = {"dataset": {"npz": str(recipes.data / "pixels.npz")}, "samples": 20, "ranges": "minmax"}
    evaluation = {"dataset": rows, "samples": 12, "label": "label", "metric": "top1"}
    scaled = {"image": {"scale": 0.01}}
    recipe = recipes.write("tiny_conv", ["int8"], calibration=calibration, evaluation=evaluation, inputs=scaled)
    measured = run_recipe(recipe).variant("int8").measured
    with runner(recipe) as (made, _):
        (tried,) = made.run([MINMAX], CONFIRMATION)
    assert measured is not None
    assert measured.metric is not None
    assert tried.figures is not None
    near, output = tried.figures.outputs["scores"], measured.fidelity["scores"]
    assert (tried.figures.metric, tried.figures.drop.value) == (measured.metric.value, measured.metric.drop)
    assert (tried.figures.drop.low, tried.figures.drop.high) == measured.metric.ci95
    assert near.sqnr_db.value == pytest.approx(output.sqnr_db)
    assert near.sqnr_db.low < near.sqnr_db.value < near.sqnr_db.high
    assert near.agreement.value == pytest.approx(output.agreement)


def test_ranges_and_options_make_a_difference(scored: Path) -> None:
    variants = [MINMAX, Trial(Int8(), Percentile(percentile=90.0)), Trial(Int8(per_channel=False), "minmax")]
    with runner(scored) as (made, _):
        found = [tried.figures for tried in made.run([*variants, Trial(Dynamic(), "minmax")])]
    assert all(found)
    assert len({figures.file.sha256 for figures in found}) == 4
    assert found[2].file.size_bytes < found[0].file.size_bytes
    assert found[1].outputs["scores"].sqnr_db.value < found[0].outputs["scores"].sqnr_db.value


def test_what_cannot_be_made_or_breaks_its_contract_has_a_reason(recipes: Recipes) -> None:
    with runner(recipes.write("with_sin", ["int8"])) as (made, _):
        whole, strict = made.run([MINMAX, Trial(Int8Only(), "minmax")])
    assert whole.figures is not None
    assert whole.figures.file.float_ops == 1
    assert strict.figures is None
    assert strict.reason.startswith("the file breaks its contract: SIN ")


def test_trials_are_kept_and_go_on_where_they_were(scored: Path) -> None:
    with runner(scored) as (made, events):
        first = made.run(THREE)
        made.run(THREE)
        assert attempts(events) == 3
    journal = load(scored).output / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:50])
    with runner(scored) as (made, events):
        assert made.run(THREE) == first
        assert attempts(events) == 1
        made.run(THREE[:1], CONFIRMATION)
        assert attempts(events) == 2
    with runner(scored) as (made, events):
        assert made.run(THREE) == first
        assert attempts(events) == 0


def test_a_trial_that_is_read_again_has_the_variant_that_was_asked_for(scored: Path) -> None:
    edge = Trial(Int8(name="edge"), "minmax")
    with runner(scored) as (made, _):
        made.run([MINMAX])
    with runner(scored) as (made, events):
        (again,) = made.run([edge])
        assert attempts(events) == 0
    assert again.trial == edge


def test_a_reserve_is_left_of_the_limit(recipes: Recipes) -> None:
    with runner(recipes.write("tiny_dense", ["int8"]), TrialLimits(trials=2)) as (made, events):
        with pytest.raises(BudgetExhausted):
            made.run(THREE, reserve=1)
        assert attempts(events) == 1
        made.run([THREE[2]])
        assert attempts(events) == 2


def test_other_samples_are_other_trials(scored: Path, recipes: Recipes) -> None:
    with runner(scored) as (made, _):
        made.run([MINMAX])
    changed = scored.read_text().replace("seed: 1", "seed: 3")
    scored.with_name("changed.yaml").write_text(changed)
    with runner(scored.with_name("changed.yaml")) as (made, events):
        assert made.recipe.output.name == "changed"
    again = changed + f"output: {load(scored).output}\n"
    scored.with_name("changed.yaml").write_text(again)
    with runner(scored.with_name("changed.yaml")) as (made, events):
        made.run([MINMAX])
        assert attempts(events) == 1


@pytest.mark.parametrize(("limits", "made_before"), [(TrialLimits(trials=2), 2), (TrialLimits(seconds=0.0), 0)])
def test_limits_end_the_trials_and_lose_none(recipes: Recipes, limits: TrialLimits, made_before: int) -> None:
    recipe = recipes.write("tiny_dense", ["int8"])
    with runner(recipe, limits) as (made, events):
        with pytest.raises(BudgetExhausted):
            made.run(THREE)
        assert [result.trial for result in made.results["selection"].values()] == [*THREE[:made_before]]
        assert attempts(events) == made_before


@pytest.mark.parametrize(
    ("model", "keys", "error", "said"),
    [
        ("fake_quantized", {}, ConversionError, "contains fake-quantize ops"),
        ("tiny_dense", {"calibration": None}, RecipeError, "give calibration, with a dataset"),
        ("tiny_dense", {"evaluation": {"dataset": {"npz": "few.npz"}}}, DatasetError, "has too few rows"),
    ],
)
def test_what_cannot_be_tried_is_told(
    recipes: Recipes, model: str, keys: dict[str, Any], error: type[Exception], said: str
) -> None:
    recipe = recipes.write(model, ["int8"] if "calibration" not in keys else ["dynamic"], **keys)
    np.savez(recipe.with_name("few.npz"), x=np.zeros((7, 16), np.float32))
    with pytest.raises(error, match=said), runner(recipe):
        pass


def splits(tmp_path: Path, rows: int, most: int = 1000, **keys: Any) -> tuple[Splits, Recipe]:
    np.savez(tmp_path / "data.npz", x=np.zeros((rows, 1), np.float32))
    np.savez(tmp_path / "other.npz", x=np.zeros((rows, 1), np.float32))
    plain = {"model": "net", "mode": "int8", "calibration": {"dataset": {"npz": "data.npz"}, "samples": 20}} | keys
    (tmp_path / "recipe.yaml").write_text(str(plain).replace("'", '"'))
    recipe = load(tmp_path / "recipe.yaml")
    return choose_splits(lambda *_: None, recipe, most), recipe


def test_rows_that_evaluation_does_not_ask_for_decide(tmp_path: Path) -> None:
    chosen, _ = splits(tmp_path, 100, evaluation={"dataset": {"npz": "other.npz"}, "samples": 30})
    assert (len(chosen.selection), len(chosen.confirmation)) == (70, 30)
    assert "selected on 70 rows of" in chosen.description
    assert chosen.description.endswith("that evaluation does not use and confirmed on the 30 that it uses")
    assert not {*chosen.selection} & {*chosen.confirmation}


def test_evaluation_rows_are_divided_where_there_are_no_others(tmp_path: Path) -> None:
    chosen, _ = splits(tmp_path, 100, evaluation={"dataset": {"npz": "other.npz"}})
    assert (chosen.selection, chosen.confirmation) == (tuple(range(0, 100, 2)), tuple(range(1, 100, 2)))
    assert "evaluation rows" in chosen.description


def test_no_row_is_calibrated_with_and_measured_on(tmp_path: Path) -> None:
    same = {"dataset": {"npz": "data.npz"}}
    chosen, recipe = splits(tmp_path, 60, evaluation=same, calibration=same | {"samples": 20, "seed": "first"})
    assert {*chosen.selection} | {*chosen.confirmation} == {*range(20, 60)}
    assert recipe.calibration is not None


def test_rows_that_calibration_has_seen_are_better_than_none(tmp_path: Path) -> None:
    same = {"dataset": {"npz": "data.npz"}}
    chosen, _ = splits(tmp_path, 24, evaluation=same)
    assert len({*chosen.selection} | {*chosen.confirmation}) == 24
    assert "which calibration also uses" in chosen.description


def test_without_evaluation_rows_that_calibration_leaves_are_measured_on(tmp_path: Path) -> None:
    chosen, _ = splits(tmp_path, 100, calibration={"dataset": {"npz": "data.npz"}, "samples": 20, "seed": "first"})
    assert {*chosen.selection} | {*chosen.confirmation} == {*range(20, 100)}
    assert chosen.calibration_samples is None
    assert "that calibration does not use" in chosen.description


def test_without_other_rows_some_are_held_back_from_calibration(tmp_path: Path) -> None:
    chosen, _ = splits(tmp_path, 30, calibration={"dataset": {"npz": "data.npz"}, "samples": 30, "seed": "first"})
    assert chosen.calibration_samples == 20
    assert {*chosen.selection} | {*chosen.confirmation} == {*range(20, 30)}
    assert "held out from calibration, which keeps 20" in chosen.description


def test_held_back_rows_are_not_calibrated_with(recipes: Recipes) -> None:
    recipe = recipes.write("tiny_dense", ["int8"], evaluation=None, calibration=None)
    text = recipe.read_text() + f"calibration: {{dataset: {{npz: {recipes.data / 'vectors.npz'}}}}}\n"
    recipe.write_text(text)
    with runner(recipe) as (made, _):
        assert (made.splits.calibration_samples, made.recipe.calibration.samples) == (16, 16)
        assert not {*made.calibration_samples.rows} & {*made.splits.selection, *made.splits.confirmation}
        (tried,) = made.run([MINMAX])
    assert tried.figures is not None
    assert tried.figures.samples == 4


def test_the_choice_of_rows_is_bounded_and_the_same_each_time(tmp_path: Path) -> None:
    evaluation = {"dataset": {"npz": "other.npz"}, "samples": 30}
    (once, _), (again, _) = (splits(tmp_path, 100, 16, evaluation=evaluation) for _ in range(2))
    assert once == again
    assert len(once.selection) == 16


def test_samples_of_a_slow_file_are_spread(tmp_path: Path) -> None:
    assert spread(1000, 250) == [*range(0, 1000, 4)]
    assert spread(1000, 1) == [*range(0, 1000, 10)]
    assert spread(50, 1) == [*range(50)]


def test_some_of_some_samples(tmp_path: Path) -> None:
    column = StoredColumn(tmp_path / "held", ("<i2",) * 4, ((),) * 4)
    column.file.write_bytes(np.arange(4, dtype=np.int16).tobytes())
    held = StoredSamples(tmp_path, 4, {"number": column}, "")
    assert [int(row["number"]) for row in held.at([1, 2, 3]).at([0, 2]).rows()] == [1, 3]


def test_a_task_that_begins_again_in_its_own_process_stores_its_samples_once(tmp_path: Path) -> None:
    for _ in range(2):  # code of the recipe is not run in a process that others share
        writer = _Writer(tmp_path / "held")
        writer.add({"boxes": np.ones((2, 4)), "text": np.asarray("two words")})
        writer.add({"boxes": np.ones((0, 4)), "text": np.asarray("")})
    first, second = StoredSamples(tmp_path / "held", 2, writer.columns(), "").rows()
    assert (first["boxes"].shape, str(first["text"])) == ((2, 4), "two words")
    assert (second["boxes"].shape, str(second["text"])) == ((0, 4), "")


def test_what_was_measured_first_is_a_part_of_the_whole(scored: Path) -> None:
    with runner(scored) as (made, _):
        held, plan = made.evaluations[CONFIRMATION].stored, made.evaluations[CONFIRMATION].plan
        order = [*range(0, held.count, 2), *range(1, held.count, 2)]
        first = held.at(order[: len(order) // 2])
        parts = list(records(nothing, made.float32, [first, held.at(order[len(order) // 2 :])], plan))
        whole, alone = (record(nothing, made.float32, some, plan) for some in (held, first))
    for name, rows in whole.errors.items():
        np.testing.assert_array_equal(parts[0].errors[name], alone.errors[name])
        np.testing.assert_array_equal(parts[1].errors[name], rows[order])
    np.testing.assert_array_equal(parts[1].statistics, whole.statistics[order])


def test_arrays_of_any_shapes_are_kept_as_they_are(tmp_path: Path) -> None:
    arrays = [np.arange(6, dtype=np.int16).reshape(2, 3), np.float32(1.5), np.zeros((0, 4)), np.array(True)]
    (tmp_path / "held").write_bytes(b"".join(np.asarray(array).tobytes() for array in arrays))
    column = StoredColumn(tmp_path / "held", tuple(a.dtype.str for a in arrays), tuple(a.shape for a in arrays))
    for array, held in zip(arrays, column.arrays(range(len(arrays))), strict=True):
        np.testing.assert_array_equal(held, array, strict=True)


def test_integers_are_less_work_than_floats_and_int16_more(recipes: Recipes) -> None:
    ran = recipes.run("tiny_conv", ["int8", "float32", "int16x8"])
    taken = {mode: work(read(ran.file(mode))) for mode in ("int8", "float32", "int16x8")}
    assert taken["int8"] < taken["float32"] < taken["int16x8"]


def fidelity_of(noise: Sequence[float]) -> Estimate:
    """The SQNR of samples whose signals have the energy 1."""
    rows = np.zeros((len(noise), 6))
    rows[:, 0], rows[:, 1] = 1, noise
    every = np.ones(len(noise), bool)
    answers = Record(np.zeros((len(noise), 0)), {"y": rows}, {}, {}, every, ~every)
    return output_fidelity(answers)["y"].sqnr_db


def test_an_interval_of_many_alike_samples_is_that_of_the_normal_distribution() -> None:
    noise = np.random.default_rng(0).uniform(0.005, 0.015, 400)
    estimate, error = fidelity_of(noise.tolist()), 10 / np.log(10) * noise.std() / noise.mean() / 20
    assert estimate.value == pytest.approx(-10 * np.log10(noise.mean()))
    assert estimate.value - estimate.low == pytest.approx(1.96 * error, rel=0.15)
    assert estimate.high - estimate.value == pytest.approx(1.96 * error, rel=0.15)


def test_an_interval_of_one_bad_sample_among_few_reaches_what_the_others_have() -> None:
    estimate = fidelity_of([0.01] * 7 + [80.0])
    assert estimate.value == pytest.approx(-10, abs=0.1)
    assert estimate.low < -15
    assert estimate.high == pytest.approx(20, abs=0.1)


def test_fewer_samples_have_a_wider_interval() -> None:
    widths = [(one := fidelity_of([0.005, 0.015] * count)).high - one.low for count in (2, 4, 16, 64)]
    assert widths == sorted(widths, reverse=True)


def test_outputs_without_noise_or_without_end_have_the_limits_of_the_scale() -> None:
    assert fidelity_of([0.0] * 4) == Estimate(EQUAL_DB, EQUAL_DB, EQUAL_DB)
    assert fidelity_of([np.inf, *[0.0] * 3]) == Estimate(-EQUAL_DB, -EQUAL_DB, -EQUAL_DB)


@pytest.mark.parametrize(("freedom", "exact"), [(1, 12.706), (2, 4.303), (3, 3.182), (7, 2.365), (30, 2.042)])
def test_quantiles_of_students_t(freedom: int, exact: float) -> None:
    assert student_t(freedom) == pytest.approx(exact, rel=0.01)


def test_words_of_a_skewed_interval_have_both_ends() -> None:
    constraint, file = Constraint("min_sqnr_db", 15.0), FileFacts("", 1, 0, 1.0)

    def words(*sqnr: float) -> str:
        figures = Measurements(file, {"y": OutputFidelity(Estimate(*sqnr), None)}, None, None, 8, "")
        return constraint.in_words(figures)

    assert words(-9.9, -15.0, 14.0) == "SQNR is -9.9 dB (95 %: -15.0 to 14.0)"
    assert words(19.0, 18.0, 20.1) == "SQNR is 19.0 dB ±1.1"
    assert words(19.0, 19.0, 19.0) == "SQNR is 19.0 dB"
