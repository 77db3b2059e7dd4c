"""What is recommended, of reports made by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tflq.cli import main
from tflq.modes import MODE_NAMES
from tflq.recipe import dump, load

FLOAT32 = ("float32", "float32", 100_000, 0.0)
INT16X8 = ("int16x8", "int16x8", 34_000, 0.002)
INT8 = ("int8", "int8", 30_000, 0.05)
INT8_ONLY = ("int8_only", "int8_only", 29_500, 0.06)
QAT_MODES = ("qat_int8", "qat_int8", 30_100, 0.004)
LEARNED_ONLY = ("qat_int8_only", "qat_int8_only", 29_800, 0.005)
FLOAT16 = ("float16", "float16", 51_000, 0.0001)


class Case:
    """A recipe, and the report of a run that never was."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "net.yaml"

    def recipe(self, *modes: str, **keys: Any) -> Case:
        rows = {"npz": "data.npz"}
        plain: dict[str, Any] = {"model": "net.keras", "variants": list(modes) or ["float32"]}
        plain |= {"calibration": {"dataset": rows}}
        plain |= {"evaluation": {"dataset": {"npz": "test.npz"}, "label": "label", "metric": "top1"}} | keys
        self.path.write_text(yaml.safe_dump({key: value for key, value in plain.items() if value is not None}))
        return self

    def report(self, *rows: tuple[str, str, int, float], **keys: Any) -> Case:
        recipe = load(self.path)
        sha256 = hashlib.sha256(dump(recipe, recipe.output).encode()).hexdigest()
        variants = [variant(row) | keys for row in rows]
        recipe.output.mkdir(parents=True)
        text = json.dumps({"recipe_sha256": sha256, "variants": variants})
        (recipe.output / "report.json").write_text(text)
        return self

    def advise(self, *options: str) -> Result:
        return CliRunner().invoke(main, ["advise", str(self.path), *options])

    def lines(self, *options: str) -> list[str]:
        """What is said, one line each of what to ship, why, and training."""
        ran = self.advise(*options)
        assert ran.exit_code == 0, ran.output
        heads, said = zip(*[line.split(": ", 1) for line in ran.stdout.splitlines()], strict=True)
        assert heads == ("ship", "why", "training")
        return [line.strip().replace(str(self.folder), "") for line in said]


def variant(row: tuple[str, str, int, float]) -> dict[str, Any]:
    name, mode, size_bytes, drop = row
    return {
        "name": name,
        "mode": mode,
        "status": "ok",
        "file": f"net-{name}.tflite",
        "size_bytes": size_bytes,
        "trained": mode.startswith("qat"),
        "metric": {"drop": drop, "ci95": [drop - 0.002, drop + 0.002]},
        "fidelity": {"y": {"agreement": 0.98}},
        "latency_ms": {"median": 0.0125},
    }


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path).recipe()


def test_training_that_won_the_loss_back_is_shipped(case: Case) -> None:
    ship, why, training = case.report(FLOAT32, INT8, INT16X8, QAT_MODES).lines()
    assert ship == "qat_int8: /build/net/net-qat_int8.tflite"
    assert why == (
        "the smallest of 3 that pass for a CPU, at a loss of at most 0.01 in top1"
        " (30,100 bytes, 0.0125 ms, loses 0.0040 ±0.0020)"
    )
    assert training == "was worth it: int8 loses 0.0500 ±0.0020, qat_int8 0.0040 ±0.0020"


def test_a_file_that_is_not_the_smallest_is_not_called_so(case: Case) -> None:
    larger = ("dynamic", "dynamic", 104_000, 0.001)
    ship, why, _ = case.report(("float32", "float32", 400_000, 0.0), ("int8", "int8", 100_000, 0.009), larger).lines()
    assert ship.startswith("dynamic:")
    assert why == (
        "one of the smallest of 3 that pass for a CPU, at a loss of at most 0.01 in top1"
        " (104,000 bytes, 0.0125 ms, loses 0.0010 ±0.0020); int8 is only 3.8% smaller (100,000 bytes) and loses"
        " 0.0090 ±0.0020"
    )


def test_of_files_that_lose_the_same_the_smallest_is_shipped(case: Case) -> None:
    larger = ("dynamic", "dynamic", 104_000, 0.009)
    ship, why, _ = case.report(larger, ("int8", "int8", 100_000, 0.009)).lines()
    assert ship.startswith("int8:")
    assert why.startswith("the smallest of 2 that pass for a CPU")


def test_where_int8_loses_little_training_is_not_worth_it(case: Case) -> None:
    ship, _, training = case.report(FLOAT32, INT8).lines("--tolerate", "0.05")
    assert ship.startswith("int8:")
    assert training == "not worth it: without training, int8 loses 0.0500 ±0.0020"


def test_training_of_the_recommended_file_is_not_needed_if_int8_loses_little(case: Case) -> None:
    ship, _, training = case.report(FLOAT32, INT8, QAT_MODES).lines("--tolerate", "0.05")
    assert ship.startswith("qat_int8:")
    assert training == "not needed: without training, int8 loses 0.0500 ±0.0020"


def test_where_int8_loses_much_and_nothing_was_trained_it_says_how(case: Case) -> None:
    ship, why, training = case.report(FLOAT32, INT8).lines()
    assert ship.startswith("float32:")
    assert why.endswith(
        "smaller, but rejected: int8 (0.0500 ±0.0020); not tried yet: dynamic, weights8, int16x8, float16"
    )
    assert training == (
        "try `tflq search /net.yaml --max-drop 0.01` first, which needs no training: int8 loses 0.0500 ±0.0020. If that"
        " finds nothing as small, give training with techniques: [quantize], and qat_int8 in variants"
    )
    case.recipe(model="saved")
    assert "give the model as a .keras or .h5 file" in case.lines()[2]


def finding(kind: str) -> dict[str, str]:
    return {"kind": kind, "where": "output 'y'", "message": f"has {kind}", "cause": "a cause", "remedy": "A remedy"}


@pytest.mark.parametrize("kind", ["constant", "dead channels", "broken", "poor"])
def test_what_was_found_is_mended_before_training(case: Case, kind: str) -> None:
    training = case.report(FLOAT32, INT8, findings=[finding(kind)]).lines()[2]
    assert training == f"not before this is mended: in int8, output 'y' has {kind}: a cause. A remedy"


def test_range_out_of_scale_is_mended_before_training(case: Case) -> None:
    violation = {
        "rule": "V4",
        "where": "ADD 'mask'",
        "message": "a scale of 1e+28: in calibration its values were in the millions",
    }
    training = case.report(FLOAT32, INT8, violations=[violation], findings=[finding("poor")]).lines()[2]
    assert training.startswith("not before this is mended: in int8, ADD 'mask' has a scale of 1e+28: ")


def test_a_constant_is_mended_before_all_else(case: Case) -> None:
    training = case.report(FLOAT32, INT8, findings=[finding("poor"), finding("constant")]).lines()[2]
    assert "output 'y' has constant" in training


class TestOnACpu:
    ROWS = (FLOAT32, FLOAT16, INT16X8)

    def test_a_file_with_slow_kernels_is_not_shipped(self, case: Case) -> None:
        case.report(*self.ROWS, latency_ms=None)
        path = case.folder / "build/net/report.json"
        report = json.loads(path.read_text())
        for each, work in zip(report["variants"], (2e6, 2e6, 12e6), strict=True):
            each["work"] = work
        path.write_text(json.dumps(report))
        ship, why, _ = case.lines()
        assert ship.startswith("float16:")
        assert (
            "smaller, but far slower on a CPU: int16x8 (34,000 bytes, about 6 times as slow as the fastest by an"
            " estimate of its kernels)" in why
        )

    def test_measured_times_count_for_more_than_an_estimate(self, case: Case) -> None:
        case.report(*self.ROWS, work=1e6)
        path = case.folder / "build/net/report.json"
        report = json.loads(path.read_text())
        for each, milliseconds in zip(report["variants"], (10.0, 12.0, 120.0), strict=True):
            each["latency_ms"] = {"median": milliseconds}
        path.write_text(json.dumps(report))
        ship, why, _ = case.lines()
        assert ship.startswith("float16:")
        assert "int16x8 (34,000 bytes, about 12 times as slow as the fastest)" in why

    def test_nothing_is_said_of_kernels_for_other_targets(self, tmp_path: Path) -> None:
        case = Case(tmp_path).recipe().report(INT8_ONLY, ("int16x8_only", "int16x8_only", 34_000, 0.002), work=1e6)
        assert "slower" not in case.lines("--target", "integer")[1]


def test_a_poor_file_is_shipped_only_if_its_metric_is_measured(case: Case, tmp_path: Path) -> None:
    ship, _, _ = case.report(FLOAT32, INT8, status="poor").lines("--tolerate", "0.06")
    assert ship.startswith("int8:")
    (tmp_path / "other").mkdir()
    unscored = Case(tmp_path / "other").recipe(evaluation=None).report(INT8, status="poor", metric=None)
    assert "no variant passes every gate" in unscored.lines("--tolerate", "0.06")[1]


def test_the_recipes_gate_says_what_is_tolerated(tmp_path: Path) -> None:
    case = Case(tmp_path).recipe(gates={"max_metric_drop": 0.06}).report(FLOAT32, INT8, INT8_ONLY)
    assert case.lines()[0].startswith("int8:")
    assert "at a loss of at most 0.06 in top1" in case.lines()[1]


@pytest.mark.parametrize(("target", "shipped"), [("cpu", "qat_int8"), ("gpu", "float16"), ("integer", "qat_int8_only")])
def test_the_target_decides_what_can_run(case: Case, target: str, shipped: str) -> None:
    case.report(FLOAT32, FLOAT16, INT8, INT8_ONLY, QAT_MODES, LEARNED_ONLY)
    assert case.lines("--target", target)[0].startswith(f"{shipped}:")


def test_where_nothing_suffices_the_least_loss_is_told(case: Case) -> None:
    ship, why, training = case.report(INT8_ONLY, ("qat_int8_only", "qat_int8_only", 29_800, 0.02)).lines()
    assert ship.startswith("qat_int8_only:")
    assert why.startswith(
        "for a CPU, at a loss of at most 0.01 in top1, no variant passes every gate; this one loses least (29,800"
    )
    assert training.startswith("helped too little: int8_only loses 0.0600 ±0.0020, qat_int8_only 0.0200 ±0.0020")


def test_a_file_that_fails_a_gate_is_not_shipped(case: Case) -> None:
    ship, why, _ = case.report(QAT_MODES, status="failed").lines()
    assert ship.startswith("qat_int8:")
    assert "no variant passes every gate" in why


def test_without_data_modes_that_need_none_are_named(tmp_path: Path) -> None:
    case = Case(tmp_path).recipe(calibration=None).report(FLOAT32)
    _, why, training = case.lines()
    assert why.endswith("not tried yet: dynamic, weights8, float16")
    assert training == "not known until int8 is measured: add int8 to variants, with calibration data"


def test_without_a_metric_answers_that_differ_are_the_loss(tmp_path: Path) -> None:
    case = Case(tmp_path).recipe(evaluation=None).report(FLOAT32, INT8, metric=None)
    assert "at a loss of at most 0.05 in agreement with the float32 file" in case.lines("--tolerate", "0.05")[1]


def test_what_was_not_measured_is_told_with_what_to_run(case: Case) -> None:
    ran = case.advise()
    assert ran.exit_code == 2
    assert "net: nothing has been measured yet: run tflq convert" in ran.stderr


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"metric": None, "fidelity": {"y": {"agreement": None}}}, "no loss has been measured: give evaluation.label"),
        ({"mode": "int8", "file": None}, "no loss has been measured"),
    ],
)
def test_a_report_without_figures_is_told(case: Case, keys: dict[str, Any], said: str) -> None:
    ran = case.report(FLOAT32, **keys).advise()
    assert (ran.exit_code, said in ran.stderr) == (2, True)


def test_random_numbers_are_no_ground_to_advise_on(tmp_path: Path) -> None:
    ran = Case(tmp_path).recipe(evaluation={"dataset": {"random": {}}}).report(FLOAT32).advise()
    assert ran.exit_code == 2
    assert "was measured on random numbers, which say nothing about accuracy" in ran.stderr


def test_a_report_of_another_kind_is_refused(case: Case) -> None:
    case.report(FLOAT32)
    (case.folder / "build/net/report.json").write_text("{}")
    assert "this is not a report of this version of tflq" in case.advise().stderr


def test_a_target_that_nothing_suits_is_told(case: Case) -> None:
    ran = case.report(INT8).advise("--target", "integer")
    assert ran.exit_code == 2
    assert "no variant that runs on integer-only hardware was measured: add one of int8_only" in ran.stderr


def test_a_recipe_changed_since_is_noted(case: Case) -> None:
    case.report(FLOAT32)
    assert case.advise().stderr == ""
    case.recipe("float32", "float16")
    assert "the recipe differs from the one in the report" in case.advise().stderr


def on_micro(words: str) -> dict[str, Any]:
    return {"targets": [{"target": "micro", "in_words": words}]}


def test_a_target_of_the_recipe_is_named_in_the_reason(tmp_path: Path) -> None:
    case = Case(tmp_path).recipe("float32", "int8_only", targets=["micro"])
    case.report(FLOAT32, LEARNED_ONLY, **on_micro("runs whole; RAM 31.4 kB, flash 29.8 kB"))
    told = case.advise("--target", "micro")
    assert told.exit_code == 0, told.output
    assert "the smallest of 2 that pass for micro, at a loss of at most 0.01 in top1" in told.stdout
    assert "; on micro it runs whole; RAM 31.4 kB, flash 29.8 kB" in told.stdout
    assert "; on micro it runs whole" in case.advise("--target", "integer").stdout


def test_a_target_that_nothing_runs_on_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    case = Case(tmp_path).recipe("float32", targets=["micro"]).report(FLOAT32, **on_micro("does not run: GELU"))
    told = case.advise("--target", "micro")
    assert told.exit_code == 2
    assert "net: no variant runs whole on micro: float32 does not run: GELU" in told.stderr
    told = case.advise("--target", "edgetpu")
    assert "the report does not say what runs on edgetpu: add it to targets, and run tflq convert" in told.stderr


def test_the_table_of_modes_needs_no_recipe_and_has_what_was_measured(case: Case) -> None:
    alone = CliRunner().invoke(main, ["advise", "--modes"])
    assert alone.exit_code == 0
    rows = [line.split(None, 1)[0] for line in alone.stdout.splitlines()]
    assert rows == ["mode", *MODE_NAMES]
    assert "measured" not in alone.stdout
    case.recipe("float32", "int8").report(FLOAT32, INT8)
    terminal = CliRunner(env={"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"})
    narrow = terminal.invoke(main, ["advise", "--modes", str(case.path)]).stdout.partition("training:")[2]
    assert max(map(len, narrow.splitlines()[1:])) <= 80
    assert {*MODE_NAMES, "microcontroller,"} <= {*narrow.split()}
    shown = case.advise("--modes").stdout
    assert shown.startswith("ship: ")
    (line,) = [line for line in shown.splitlines() if line.startswith("int8 ")]
    assert line.rstrip().endswith("int8: 30,000 bytes, 0.0125 ms, loses 0.0500 ±0.0020")


def test_json_has_the_advice_and_the_table(case: Case) -> None:
    told = json.loads(case.recipe("float32", "int8").report(FLOAT32, INT8).advise("--json").stdout)
    assert (told["variant"], told["passed"]) == ("float32", True)
    assert [row["mode"] for row in told["modes"]] == [*MODE_NAMES]
    assert [len(row["measured"]) for row in told["modes"]] == [mode in ("float32", "int8") for mode in MODE_NAMES]
    missing = CliRunner().invoke(main, ["advise"])
    assert (missing.exit_code, "give a RECIPE, or --modes" in missing.output) == (2, True)
