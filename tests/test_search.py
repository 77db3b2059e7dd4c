"""What a search finds in models each of which one thing alone spoils, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from running import run_recipe
from waiting import until

from tflq.cli import main
from tflq.modes import Int8, Int8Only, Int16x8, Int16x8Only
from tflq.recipe import load
from tflq.search.space import TOGGLES, Space
from tflq.targets.tools import vela_command
from tflq.trials import Trial

INTEGERS = ("--modes", "int8,int16x8")
TFLQ = [sys.executable, "-c", "from tflq.cli import main; main(prog_name='tflq')"]


@dataclass(frozen=True)
class Searched:
    ran: Result
    output: Path
    report: Any
    """What search.json held after it."""

    @property
    def kept(self) -> list[str]:
        """The types of the ops that were found to need floats."""
        return [op["type"] for op in self.report["found"]["deciding"]["kept_in_float"]]


@dataclass(frozen=True)
class Searches:
    """Writes recipes for planted models, and searches."""

    folder: Path
    planted: Path

    def write(self, model: str, /, **keys: Any) -> Path:
        stem = "digits_" if model == "digits" else ""
        scored = {"label": "label", "metric": "top1"} if model == "digits" else {}
        recipe: dict[str, Any] = {
            "model": str(self.planted / model),
            "calibration": {"dataset": {"npz": str(self.planted / f"{stem}calibration.npz")}, "samples": "all"},
            "evaluation": {"dataset": {"npz": str(self.planted / f"{stem}evaluation.npz")}, **scored},
            "variants": ["int8"],
            "gates": {"max_metric_drop": 0.005} if scored else {"min_sqnr_db": 20},
            "latency": "off",
        }
        file = self.folder / f"{model}.yaml"
        file.write_text(yaml.safe_dump(recipe | keys, sort_keys=False))
        return file

    def search(self, recipe: Path, *options: str) -> Searched:
        ran = CliRunner().invoke(main, ["search", str(recipe), *options])
        output = Path(options[options.index("--output") + 1]) if "--output" in options else output_of(recipe)
        file = output / "search.json"
        return Searched(ran, output, json.loads(file.read_text()) if file.exists() else None)

    def find(self, model: str, options: Sequence[str] = (), /, **keys: Any) -> Searched:
        searched = self.search(self.write(model, **keys), *options)
        assert searched.ran.exit_code == 0, searched.ran.output
        return searched


def output_of(recipe: Path) -> Path:
    return recipe.parent / "build" / recipe.stem


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Searched:
    return Searches(tmp_path_factory.mktemp("unlike"), planted).find("unlike", INTEGERS)


@pytest.fixture
def searches(tmp_path: Path, planted: Path) -> Searches:
    return Searches(tmp_path, planted)


def shown_to_be_needed(searched: Searched) -> bool:
    """Whether each op in float was taken back alone, and a gate then failed."""
    needed = [one for one in searched.report["found"]["needed"] if one["key"] == "keep_float"]
    failed = [not one["is_met_without"] and not all(one["without"]["meets"].values()) for one in needed]
    return len(failed) == len(searched.kept) and all(failed)


def test_an_outlier_is_mended_by_the_ops_that_see_it(searches: Searches) -> None:
    searched = searches.find("outlier", INTEGERS)
    assert searched.report["found"]["deciding"]["mode"] == "int8"
    assert searched.kept == ["MUL", "ABS", "FULLY_CONNECTED"]
    assert shown_to_be_needed(searched)


def test_a_concatenation_of_unlike_ranges_is_mended(unlike: Searched) -> None:
    assert unlike.kept == ["CONCATENATION", "FULLY_CONNECTED"]
    assert shown_to_be_needed(unlike)
    said = unlike.ran.stdout
    kept = "CONCATENATION 'concat', FULLY_CONNECTED 'y'"
    assert f", with {kept} in float meets min_sqnr_db 20 and max_dead_channels 0: " in said
    assert "; without CONCATENATION 'concat' in float, SQNR is " in said
    assert "; without FULLY_CONNECTED 'y' in float, output 'y' is the same for every sample" in said


def test_a_file_without_float_is_mended_by_ops_in_16_bits(searches: Searches) -> None:
    ends = {"inference_input_type": "float32", "inference_output_type": "float32"}
    keys = {
        "search": {"allow": ["keep_float", "keep_int16"]},
        "variants": [{"mode": "int8_only", "bias_correction": "off", **ends}],
        "gates": {"min_sqnr_db": 35},
    }
    fixed = [option for key in ("ranges", *TOGGLES) for option in ("--fixed", key)]
    searched = searches.find("plain", ["--modes", "int8_only", *fixed], **keys)
    found = searched.report["found"]["deciding"]
    assert [op["name"] for op in found["in_int16"]] == ["y"]
    assert found["kept_in_float"] == []
    assert found["figures"]["file"]["float_ops"] == 0
    assert "with FULLY_CONNECTED 'y' in 16 bits meets min_sqnr_db 35" in searched.ran.stdout
    assert "; without FULLY_CONNECTED 'y' in 16 bits, SQNR is " in searched.ran.stdout
    (variant,) = load(searched.output / "found.yaml").variants
    assert (variant.mode, variant.keep_int16, variant.keep_float) == ("int8_only", ("y",), ())


def test_keys_that_name_ops_fit_the_mode_and_the_goal() -> None:
    recipe_space = replace(Space((), (), "minmax", {}, frozenset()), allowed=("keep_int16", "keep_float"))
    keys = {mode().mode: recipe_space.op_keys(mode()) for mode in (Int8, Int8Only, Int16x8, Int16x8Only)}
    assert keys == {
        "int8": ("keep_int16", "keep_float"),
        "int8_only": ("keep_int16",),
        "int16x8": ("keep_float",),
        "int16x8_only": (),
    }
    assert replace(recipe_space, fixed=frozenset({"keep_int16"})).op_keys(Int8()) == ("keep_float",)


def test_weights_that_one_scale_does_not_bear_get_one_for_each_channel(searches: Searches) -> None:
    searched = searches.find("spread", ["--modes", "int8"], converter={"per_channel": False})
    assert searched.kept == []
    (needed,) = searched.report["found"]["needed"]
    assert (needed["key"], needed["is_met_without"]) == ("per_channel", False)
    assert load(searched.output / "found.yaml").variants[0].per_channel is True


def test_options_that_helped_alone_are_tried_together() -> None:
    space = Space((), (), "minmax", {}, frozenset())
    base = Trial(Int8(bias_correction="off", rounding="off", headroom=1.0), "minmax")
    corrected, wide, plain, dense = (
        replace(base, variant=base.variant.model_copy(update=update))
        for update in (
            {"bias_correction": "on"},
            {"headroom": "expected"},
            {"per_channel": False},
            {"per_channel_dense": False},
        )
    )
    joined = space.combine(base, [corrected, wide, dense, plain])
    changed = {"bias_correction": "on", "headroom": "expected", "per_channel": False}
    assert joined == replace(base, variant=base.variant.model_copy(update=changed))


def test_what_is_fixed_is_mended_otherwise(searches: Searches) -> None:
    fixed = ["--modes", "int8", "--fixed", "per_channel"]
    searched = searches.find("spread", fixed, converter={"per_channel": False})
    assert len(searched.kept) == 1
    assert shown_to_be_needed(searched)
    assert load(searched.output / "found.yaml").variants[0].per_channel is False


def test_a_poisoned_sample_is_mended_by_ranges(searches: Searches) -> None:
    calibration = {"dataset": {"npz": str(searches.planted / "poisoned.npz")}, "samples": "all"}
    fixed = ["--fixed", "per_channel", "--fixed", "per_channel_dense"]
    searched = searches.find("plain", [*INTEGERS, *fixed], calibration=calibration)
    assert searched.kept == []
    assert load(searched.output / "found.yaml").calibration.ranges != "minmax"
    (needed,) = searched.report["found"]["needed"]
    assert (needed["key"], needed["is_met_without"]) == ("ranges", False)


def test_found_recipe_makes_the_file_that_was_found(unlike: Searched) -> None:
    found = unlike.output / "found.yaml"
    assert not [line for line in found.read_text().splitlines() if line.split(": ")[-1].startswith("/")]
    ran = run_recipe(found)
    assert ran.codes == {"int8": 0}
    assert ran.output == unlike.output / "found"
    assert ran.variant("int8").file.sha256 == unlike.report["found"]["deciding"]["figures"]["file"]["sha256"]


@pytest.mark.slow
def test_digits_meet_half_a_point(searches: Searches) -> None:
    recipe = searches.write("digits", evaluation=evaluation_of_digits(searches, samples=350))
    searched = searches.search(recipe, *INTEGERS)
    assert searched.ran.exit_code == 0, searched.ran.output
    report = searched.report
    confirmed = report["found"]["confirming"]["figures"]
    assert confirmed["drop"]["value"] <= 0.005
    assert confirmed["samples"] == 350
    assert report["samples"].endswith("confirmed on the 350 that it uses")
    assert report["trials"][0]["figures"]["drop"]["value"] > 0.005
    assert shown_to_be_needed(searched)
    assert run_recipe(searched.output / "found.yaml").result.exit_code == 0


def evaluation_of_digits(searches: Searches, samples: int) -> dict[str, Any]:
    rows = {"npz": str(searches.planted / "digits_evaluation.npz")}
    return {"dataset": rows, "label": "label", "metric": "top1", "samples": samples}


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_ends_the_same(searches: Searches) -> None:
    recipe = searches.write("unlike")
    whole = searches.search(recipe, "--output", str(searches.folder / "whole"))
    assert whole.ran.exit_code == 0
    killed = searches.folder / "killed"
    kill_after_trials(5, [*TFLQ, "search", str(recipe), "--output", str(killed)], killed / "trials.jsonl")
    left = len((killed / "trials.jsonl").read_text().splitlines())
    assert not (killed / "search.json").exists()
    searches.search(recipe, "--output", str(killed))
    assert len((killed / "trials.jsonl").read_text().splitlines()) > left
    texts = {name: (searches.folder / name / "search.json").read_text() for name in ("whole", "killed")}
    assert texts["whole"] == texts["killed"]
    recipes = {name: load(searches.folder / name / "found.yaml") for name in texts}
    assert recipes["whole"].variants == recipes["killed"].variants


def kill_after_trials(count: int, command: Sequence[str], journal: Path) -> None:
    """Kill the process and its workers by force once so many trials are in the journal."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def is_time() -> bool:
        assert process.poll() is None, "ended before it could be killed"
        return journal.exists() and journal.read_text().count("\n") >= count

    until(is_time)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_where_nothing_meets_the_bar_it_says_what_came_closest(searches: Searches) -> None:
    recipe = searches.write("unlike")
    output_of(recipe).mkdir(parents=True)
    (output_of(recipe) / "found.yaml").touch()
    searched = searches.search(recipe, "--min-sqnr", "90", "--modes", "int8,int16x8,dynamic,float16")
    assert searched.ran.exit_code == 1
    assert "no trial meets min_sqnr_db 90 and max_dead_channels 0; of " in searched.ran.stdout
    assert "the closest is " in searched.ran.stdout
    assert searched.report["verdict"] == "not met"
    assert searched.report["found"] is None
    modes = {trial["mode"] for trial in searched.report["trials"]}
    assert modes == {"int8", "int16x8", "dynamic", "float16"}
    assert searched.report["closest"]["mode"] == "float16"
    assert not (searched.output / "found.yaml").exists()


@pytest.mark.slow
def test_what_seems_to_meet_the_bar_is_refuted_by_other_samples(searches: Searches) -> None:
    """The recipe's gate is met on both sets of samples. One just below the value on the selection samples is not."""
    rows = np.load(searches.planted / "evaluation.npz")["x"]
    rows[1::2] *= 1.2  # every second row confirms, and leaves the ranges of the calibration samples
    np.savez(searches.folder / "rows.npz", x=rows)
    evaluation = {"dataset": {"npz": str(searches.folder / "rows.npz")}}
    first = searches.find("outlier", ["--modes", "int8"], evaluation=evaluation)
    sides = ("deciding", "confirming")
    values = {side: first.report["found"][side]["figures"]["outputs"]["y"]["sqnr_db"]["value"] for side in sides}
    bar = values["deciding"] - 1
    assert values["confirming"] < bar
    recipe = searches.write("outlier", evaluation=evaluation)
    searched = searches.search(recipe, "--modes", "int8", "--min-sqnr", f"{bar:.3f}")
    refuted, found = searched.report["refuted"], searched.report["found"]
    assert [one["figures"]["outputs"]["y"]["sqnr_db"]["value"] for one in refuted][:1] == [values["confirming"]]
    assert [one["deciding"]["outputs"]["y"]["sqnr_db"]["value"] for one in refuted][:1] == [values["deciding"]]
    assert searched.ran.exit_code == (0 if found else 1)
    assert found is None or all(found[side]["figures"]["outputs"]["y"]["sqnr_db"]["value"] >= bar for side in sides)


def write_faint_rows(searches: Searches) -> Path:
    """Write a recipe whose confirmation rows are so small that int8 has too few steps for them. There are few rows."""
    rows = np.load(searches.planted / "evaluation.npz")["x"][:16]
    rows[1::2] *= 0.05
    np.savez(searches.folder / "faint.npz", x=rows)
    return searches.write("plain", evaluation={"dataset": {"npz": str(searches.folder / "faint.npz")}})


def test_a_refuted_mode_leaves_looks_for_others(searches: Searches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflq.search.state.MAX_CANDIDATES_OF_ONE_MODE", 1)
    recipe = write_faint_rows(searches)
    searched = searches.search(recipe, *INTEGERS, "--fixed", "keep_float")
    assert searched.ran.exit_code == 0, searched.ran.output
    report = searched.report
    refuted = report["refuted"][0]
    values = [figures["outputs"]["y"]["sqnr_db"]["value"] for figures in (refuted["deciding"], refuted["figures"])]
    assert refuted["mode"] == "int8"
    assert values[0] > 20 > values[1]
    assert report["found"]["confirming"]["mode"] == "int16x8"
    assert (report["rows"], report["needs_rows"]) == ({"deciding": 8, "confirming": 8}, True)
    said = searched.ran.stdout
    assert "more rows are needed first: 8 to select on and 8 to confirm on are too few to settle this" in said
    assert " failed on the confirmation samples, such as int8, " in said
    assert len(report["refuted"]) <= 2  # one of int8, and one that is smaller than the answer
    assert f"refuted: SQNR is {values[1]:.1f} dB" in said
    alone = searches.search(recipe, "--modes", "int8", "--fixed", "keep_float")
    assert alone.ran.exit_code == 1
    assert {one["mode"] for one in alone.report["refuted"]} == {"int8"}


def test_what_is_larger_than_float16_is_no_answer(searches: Searches, unlike: Searched) -> None:
    searched = searches.find("unlike")
    report, found = searched.report, searched.report["found"]["deciding"]
    first = ["float32", "float16", "dynamic", "weights8", "dynamic4"]
    assert [report["trials"][number]["mode"] for number in report["tried_first"]] == first
    assert report["tried_first"] == [0, 1, 2, 3, 4]
    assert found["mode"] == report["bound"]["mode"] == "float16"
    with_floats = unlike.report["found"]["deciding"]["figures"]["file"]["size_bytes"]
    assert found["figures"]["file"]["size_bytes"] < with_floats
    assert "no smaller one was confirmed" in searched.ran.stdout
    ran = run_recipe(searched.output / "found.yaml")
    assert ran.variant("float16").file.sha256 == found["figures"]["file"]["sha256"]


def test_the_float32_file_is_an_answer(searches: Searches) -> None:
    searched = searches.find("plain", ["--min-sqnr", "150", "--modes", "float32,float16"])
    assert searched.report["found"]["deciding"]["mode"] == "float32"
    assert ", 1.00 of the float32 file; " in searched.ran.stdout
    assert [variant.mode for variant in load(searched.output / "found.yaml").variants] == ["float32"]


def test_limits_end_a_search_which_tells_so(searches: Searches) -> None:
    searched = searches.search(searches.write("unlike"), *INTEGERS, "--max-trials", "3")
    assert searched.ran.exit_code == 1
    assert [trial["mode"] for trial in searched.report["trials"]] == ["int8", "int8", "int16x8"]
    assert "the limits ended the search after 3 trials, so a better file may exist" in searched.ran.stdout
    longer = searches.search(searches.write("unlike"), *INTEGERS, "--max-trials", "21")
    assert longer.report["trials"][:2] == searched.report["trials"][:2]
    first = searches.search(searches.write("unlike"), "--max-trials", "1")
    assert [trial["mode"] for trial in first.report["trials"]] == ["float32"]
    assert first.report["found"]["deciding"]["mode"] == "float32"
    assert "the limits ended the search after 1 trial, so a better file may exist" in first.ran.stdout


def test_strict_recipes_are_searched_without_floats(searches: Searches) -> None:
    searched = searches.search(searches.write("unlike", variants=["int8_only"]))
    assert searched.ran.exit_code == 1
    assert {trial["mode"] for trial in searched.report["trials"]} == {"int8_only", "int16x8_only"}
    assert not any(trial["kept_in_float"] for trial in searched.report["trials"])


def test_a_variant_s_own_options_are_kept(searches: Searches) -> None:
    own = {"mode": "int8", "name": "edge", "inference_input_type": "int8", "keep_float": ["CONCATENATION"]}
    searched = searches.find("unlike", ["--variant", "edge"], variants=["float32", own])
    (variant,) = load(searched.output / "found.yaml").variants
    assert (variant.name, variant.inference_input_type) == ("edge", "int8")
    assert variant.keep_float == ("CONCATENATION", "y")
    assert searched.kept == ["FULLY_CONNECTED"]


@pytest.mark.slow
def test_the_fastest_is_not_the_smallest(searches: Searches) -> None:
    smallest = searches.find("outlier", [*INTEGERS, "--fixed", "keep_float", "--min-sqnr", "10"])
    fastest = searches.find("outlier", [*INTEGERS, "--goal", "latency", "--min-sqnr", "10"])
    assert smallest.report["found"]["deciding"]["mode"] == "int16x8"
    assert fastest.report["found"]["deciding"]["mode"] == "int8"


@pytest.mark.parametrize(
    ("options", "keys", "said"),
    [
        ([], {"gates": {}}, "the recipe has no gate on accuracy: give --max-drop"),
        (["--max-drop", "0.1"], {"gates": {}}, "gates.max_metric_drop: needs evaluation.metric"),
        (["--variant", "int9"], {}, "--variant int9: no variant to search has this name (did you mean 'int8'?)"),
        (["--modes", "int9"], {}, "'int9' is not one of int8, int16x8"),
        (
            ["--fixed", "scales"],
            {},
            "'scales' is not one of ranges, bias_correction, rounding, equalization, headroom, ",
        ),
        (["--goal", "ram"], {}, "--goal ram: no target has a plan of memory: give --target micro"),
        (
            ["--goal", "target-time"],
            {},
            "--goal target-time: no target has a model of time: give --target ethos-u55-128",
        ),
        (["--target", "micros"], {}, "no target has the name 'micros' (did you mean 'micro'?)"),
        ([], {"calibration": None, "variants": ["dynamic"]}, "give calibration, with a dataset"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    searches: Searches, options: Sequence[str], keys: dict[str, Any], said: str
) -> None:
    ran = searches.search(searches.write("unlike", **keys), *options).ran
    assert (ran.exit_code, said in ran.stderr) == (2, True), ran.stderr


def test_only_files_that_run_on_the_target_are_tried(searches: Searches) -> None:
    """An Edge TPU has integers only, so that files with float inputs are not measured. RAM is planned for micro."""
    options = ["--target", "edgetpu", "--target", "micro", "--modes", "float32,int8,int8_only"]
    options += ["--min-sqnr", "20", "--set", "gates.max_dead_channels=null"]
    searched = searches.find("plain", [*options, "--goal", "ram", "--fixed", "ranges,keep_float,per_channel"])
    tried = {trial["mode"]: trial for trial in searched.report["trials"]}
    assert tried["float32"]["figures"] is None
    assert tried["float32"]["reason"].startswith("edgetpu: falls back: ")
    assert searched.report["found"]["deciding"]["mode"] == "int8_only"
    ram = searched.report["found"]["deciding"]["figures"]["file"]["ram_bytes"]
    assert f"{ram:,} bytes of planned memory; it runs whole on edgetpu, micro" in searched.report["sentence"]
    assert load(searched.output / "found.yaml").gates.runs_whole_on == ("edgetpu", "micro")


@pytest.mark.slow
@pytest.mark.skipif(vela_command() is None, reason="the compiler ethos-u-vela is not installed")
def test_the_estimated_time_on_a_target_is_minimized(searches: Searches) -> None:
    """Files with float inputs are not measured, because an Ethos-U leaves the conversion to the CPU.

    Those of int8_only answer the same for every sample, so they are not compiled.
    """
    options = ["--target", "ethos-u55-128", "--modes", "float32,int8,int8_only,int16x8_only", "--min-sqnr", "1"]
    options += ["--set", "gates.max_dead_channels=null", "--set", "gates.max_estimated_ms=5"]
    searched = searches.find("unlike", [*options, "--goal", "target-time", "--fixed", "ranges,keep_float,per_channel"])
    tried = [trial for trial in searched.report["trials"] if trial["figures"]]
    assert {trial["mode"] for trial in tried} <= {"int8_only", "int16x8_only"}
    times = {trial["mode"]: set[float | None]() for trial in tried}
    for trial in tried:
        times[trial["mode"]].add(trial["figures"]["file"]["estimated_ms"])
    assert times["int8_only"] == {None}
    found = searched.report["found"]["deciding"]["figures"]["file"]["estimated_ms"]
    assert found == min(time for time in times["int16x8_only"] if time is not None)
    assert f"an estimated {found:.3g} ms a call; it runs whole on ethos-u55-128" in searched.report["sentence"]


def test_json_goes_to_standard_output_alone(searches: Searches) -> None:
    searched = searches.find("unlike", ["--json", "--modes", "int8", "--fixed", "ranges"])
    assert json.loads(searched.ran.stdout) == searched.report
    assert searched.ran.stderr == ""


def test_front_is_what_nothing_beats(unlike: Searched) -> None:
    report = unlike.report
    points = [report["trials"][place]["figures"] for place in report["front"]]
    pairs = [(figures["file"]["size_bytes"], figures["outputs"]["y"]["sqnr_db"]["value"]) for figures in points]
    assert pairs == sorted(pairs)
    assert [sqnr for _, sqnr in pairs] == sorted({sqnr for _, sqnr in pairs})
    for trial in report["trials"]:
        figures = trial["figures"]
        if figures:
            assert any(
                size <= figures["file"]["size_bytes"] and sqnr >= figures["outputs"]["y"]["sqnr_db"]["value"]
                for size, sqnr in pairs
            )
