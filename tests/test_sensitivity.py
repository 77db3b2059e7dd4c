"""Where a model loses what as integers: planted models, each with one cause, and what is told of them."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from observing import gathered_from, observed
from rich.console import Console
from running import Recipes, run_recipe
from test_op_selectors import graph as named_graph

from tflq.calibrate.calibration_data import ActivationStatistics
from tflq.calibrate.histogram import Histogram
from tflq.calibrate.ranges import Range
from tflq.cli import main
from tflq.flatbuffer import Graph, Operator, Quantization, Subgraph, Tensor, edit, load, read, real_values
from tflq.layerwise import LocalLoss, align, first_bad
from tflq.modes import Int8, Mode
from tflq.pipeline import Settings
from tflq.recipe import load as load_recipe
from tflq.sensitivity import SensitivityRequest, SensitivityResult, table
from tflq.sensitivity import sensitivity as study
from tflq.sensitivity.causes import CauseEvidence, causes, of_activation
from tflq.sensitivity.error_split import with_rounded_activations, with_rounded_weights
from tflq.sensitivity.groups import Group, groups, readers
from tflq.trials import TrialLimits


@dataclass(frozen=True)
class Studied:
    ran: Result
    output: Path

    @property
    def report(self) -> Any:
        return json.loads((self.output / "sensitivity.json").read_text())

    @property
    def first(self) -> Any:
        """The effect that ranks first."""
        return self.report["effects"][0]

    @property
    def journal(self) -> list[str]:
        return (self.output / "trials.jsonl").read_text().splitlines()


@dataclass(frozen=True)
class Studies:
    folder: Path
    planted: Path

    def write(self, model: str, /, **keys: Any) -> Path:
        rows = keys.pop("rows", "calibration.npz")
        recipe: dict[str, Any] = {
            "model": str(self.planted / model),
            "calibration": {"dataset": {"npz": str(self.planted / rows)}, "samples": "all"},
            "evaluation": {"dataset": {"npz": str(self.planted / "evaluation.npz")}},
            "variants": ["int8"],
            "latency": "off",
        }
        file = self.folder / f"{model}.yaml"
        file.write_text(yaml.safe_dump(recipe | keys, sort_keys=False))
        return file

    def study(self, recipe: Path, *options: str, exit_code: int = 0) -> Studied:
        ran = CliRunner().invoke(main, ["sensitivity", str(recipe), *options])
        assert ran.exit_code == exit_code, ran.output
        return Studied(ran, recipe.parent / "build" / recipe.stem)


@pytest.fixture
def studies(tmp_path: Path, planted: Path) -> Studies:
    return Studies(tmp_path, planted)


@pytest.fixture(scope="module")
def studied_once(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Callable[[str], Studied]:
    """What a study tells of a model of PLANTED, or of `plain`; each is studied when a test first asks for it."""

    @functools.cache
    def study_of(model: str) -> Studied:
        studies = Studies(tmp_path_factory.mktemp(model), planted)
        keys = PLANTED[model][0] if model in PLANTED else {}
        return studies.study(studies.write(model, **keys))

    return study_of


PLANTED = {
    "outlier": ({}, ["#1", "MUL"], ["#2", "#3"], "channels", "its channels share one scale, "),
    "spread": (
        {"converter": {"per_channel": False}},
        ["#1", "FULLY_CONNECTED"],
        [],
        "weights",
        "per_channel: true gives each channel its own scale",
    ),
    "unlike": ({}, ["#3", "CONCATENATION"], ["#4"], "concat", "it gives one scale to ranges that differ "),
}


@pytest.mark.parametrize("model", PLANTED)
def test_planted_culprit_ranks_first_with_its_cause(model: str, studied_once: Callable[[str], Studied]) -> None:
    _, culprit, behind, kind, said = PLANTED[model]
    studied = studied_once(model)
    first = studied.first
    assert [first["name"], *first["types"]] == culprit
    assert first["won"]["db"] > 20
    assert [f"#{op}" for op in first["readers"]] == behind if first["won"]["way"] == "with_readers" else not behind
    assert first["causes"][0]["kind"] == kind
    assert said in first["causes"][0]["said"]
    line = f"{' '.join(culprit)} {first['tensor'].split(';')[0]}: {first['causes'][0]['said']}."
    assert line in studied.ran.stdout.splitlines()


def test_poisoned_sample_is_named_and_what_mends_it(studies: Studies) -> None:
    rows = {"npz": str(studies.planted / "poisoned.npz")}
    spanning = {"dataset": rows, "samples": "all", "ranges": "minmax"}
    studied = studies.study(studies.write("plain", calibration=spanning))
    report = studied.report
    assert [effect["name"] for effect in report["effects"]] == ["input x", "#0", "#1"]
    for effect in report["effects"]:
        assert effect["causes"][0]["said"].startswith("calibration row 17 alone sets its range, which is ")
    assert any(note.startswith("calibration row 17 alone sets the ranges of 3 of 3") for note in report["notes"])
    assert "With ranges: mse, and no more ops in float, the SQNR changes by +" in studied.ran.stdout
    left_open = studies.study(studies.write("plain", rows="poisoned.npz")).report
    assert left_open["sqnr_db"] > report["sqnr_db"] + 20


def test_weights_and_activations_are_told_apart(studied_once: Callable[[str], Studied]) -> None:
    report = studied_once("spread").report
    assert report["weights_alone"]["sqnr_db"] < 1 < 25 < report["activations_alone"]["sqnr_db"]
    assert report["first_bad"]["operator"] == 1
    assert report["first_bad"]["before_db"] > 30 > 10 > report["first_bad"]["after_db"]
    plain = studied_once("plain").report
    parts = [10 ** (-plain[part]["sqnr_db"] / 10) for part in ("weights_alone", "activations_alone")]
    assert -10 * np.log10(sum(parts)) == pytest.approx(plain["sqnr_db"], abs=1)
    assert plain["first_bad"] is None
    in_int16 = {effect["name"]: effect["won_in_int16"] for effect in plain["effects"]}
    assert in_int16["input x"]["way"] == "int16_with_readers"
    assert in_int16["#1"]["db"] > 2
    assert (in_int16["#1"]["way"], in_int16["#1"]["more_int16_ops"], in_int16["#1"]["more_float_ops"]) == (
        "in_int16",
        1,
        0,
    )
    assert (in_int16["#0"]["way"], in_int16["#0"]["more_int16_ops"]) == ("int16_with_readers", 2)


@pytest.mark.slow
def test_every_op_is_tried_in_float_and_alone_against_the_metric(studies: Studies, planted: Path) -> None:
    evaluation = {"dataset": {"npz": str(planted / "digits_evaluation.npz")}, "label": "label", "metric": "top1"}
    recipe = studies.write("digits", rows="digits_calibration.npz", evaluation=evaluation)
    studied = studies.study(recipe)
    assert {effect["name"] for effect in studied.report["effects"]} == {"input x", *(f"#{op}" for op in range(6))}
    for effect in studied.report["effects"]:
        names = ["in_float", "alone"] if effect["ops"] else ["with_readers"]
        assert all(effect["trials"][name]["figures"]["metric"] > 0.5 for name in names)
    assert studied.first["won"]["metric"] > 0
    assert "   top1  " in studied.ran.stdout


def check_form(overlay: Any) -> None:
    """Check an overlay as `ModelNodeData` of the package ai-edge-model-explorer has it, version 0.1.34.

    It is a mapping of graphs, and each graph has results by the names of output tensors: numbers with CSS colours.
    """
    assert [*overlay] == ["main"], "the name of the first subgraph"
    assert [*overlay["main"]] == ["results"]
    for name, node in overlay["main"]["results"].items():
        assert name
        assert [*node] == ["value", "bgColor", "textColor"]
        assert type(node["value"]) in (int, float)
        assert math.isfinite(node["value"])
        assert all(re.fullmatch("#[0-9a-f]{6}", node[key]) for key in ("bgColor", "textColor"))


def test_tensors_are_compared_in_the_order_in_which_they_are_made(studies: Studies) -> None:
    overlay = studies.folder / "new" / "overlay.json"
    report = studies.study(studies.write("unlike"), "--model-explorer", str(overlay)).report
    assert [one["op"] for one in report["tensors"]] == [None, 0, 1, 2, 3, 4]
    assert [one["sqnr_db"] > 30 for one in report["tensors"]] == [True, False, True, True, True, False]
    check_form(json.loads(overlay.read_text()))
    results = json.loads(overlay.read_text())["main"]["results"]
    for one in report["tensors"]:
        shown = results[one["tensor"]]
        assert shown["value"] == pytest.approx(min(one["sqnr_db"], 100), abs=0.01)
        assert (shown["bgColor"] == "#1a9641") == (one["sqnr_db"] >= 40)
    renamed = {*results} - {one["tensor"] for one in report["tensors"]}
    assert renamed, "the output of the last op as integers has another name"
    assert all(results[name]["value"] < 30 for name in renamed if name.startswith("StatefulPartitionedCall"))


def test_study_of_what_was_tried_before_is_of_the_same_file(studies: Studies) -> None:
    recipe = studies.write("spread", variants=[{"mode": "int8", "rounding": "on", "equalization": "on"}])
    first, again = (studies.study(recipe, "--max-trials", "1").report for _ in range(2))
    assert again == first


@pytest.mark.slow
def test_study_that_was_stopped_goes_on_and_ends_the_same(studies: Studies, tmp_path: Path) -> None:
    recipe = studies.write("unlike")
    stopped = studies.study(recipe, "--max-trials", "4")
    assert stopped.report["is_spent"]
    before = stopped.journal
    assert len(before) == 4
    assert "The limits ended the study before all trials ran" in stopped.ran.stdout
    resumed = studies.study(recipe)
    assert resumed.journal[:4] == before
    assert len(resumed.journal) == len(set(resumed.journal))
    fresh = studies.study(recipe, "--output", str(tmp_path / "fresh"))
    assert json.loads((tmp_path / "fresh" / "sensitivity.json").read_text()) == resumed.report
    assert not resumed.report["is_spent"]
    assert fresh.ran.stdout.splitlines()[:-1] == resumed.ran.stdout.splitlines()[:-1]


def test_json_alone_goes_to_standard_output(studies: Studies) -> None:
    studied = studies.study(studies.write("plain"), "--json", "--by", "type")
    assert json.loads(studied.ran.stdout) == studied.report
    assert [effect["name"] for effect in studied.report["effects"] if effect["ops"]] == ["FULLY_CONNECTED"]


@pytest.mark.slow
def test_strict_variant_is_studied_without_its_promise(recipes: Recipes) -> None:
    recipe = recipes.write("two_outputs", ["float32", "int8_only", {"mode": "int16x8", "name": "wide"}])
    studied = Studies(recipe.parent, recipe.parent).study(recipe)
    assert studied.report["is_relaxed"]
    assert studied.report["variant"]["inference_input_type"] == "int8"
    wide = Studies(recipe.parent, recipe.parent).study(recipe, "--variant", "wide")
    assert wide.report["variant"]["mode"] == "int16x8"
    assert not wide.report["is_relaxed"]


def test_answers_of_other_shapes_are_no_answers(recipes: Recipes) -> None:
    recipe = recipes.write("as_many_as_positive", ["int8"])
    studied = Studies(recipe.parent, recipe.parent).study(recipe, exit_code=5)
    assert "for the same sample, so they cannot be compared" in studied.ran.stderr


def test_ops_that_the_recipe_keeps_are_not_studied(recipes: Recipes) -> None:
    recipe = recipes.write("tiny_dense", [{"mode": "int8", "keep_float": ["#1"]}])
    studied = Studies(recipe.parent, recipe.parent).study(recipe)
    assert [effect["name"] for effect in studied.report["effects"] if effect["ops"]] == ["#0"]


@pytest.mark.slow
def test_model_that_cannot_be_observed_is_studied_by_its_trials(recipes: Recipes) -> None:
    recipe = recipes.write("lstm_keras2", ["int8"])
    studied = Studies(recipe.parent, recipe.parent).study(recipe)
    assert all(effect["won"] for effect in studied.report["effects"])
    assert studied.report["remedies"] == []


@pytest.mark.parametrize(
    ("variants", "options", "said"),
    [
        (["dynamic"], [], "the recipe has no variant with integer activations to study: add one, such as int8"),
        (
            ["int8", {"mode": "int16x8", "name": "wide"}],
            ["--variant", "wild"],
            "--variant wild: no variant with integer activations has this name (did you mean 'wide'?); there are int8,"
            " wide",
        ),
        (
            ["int8"],
            ["--time", "1e-9"],
            "--time ended the study before the variant itself was measured: give it more time",
        ),
        (
            [{"mode": "int8", "keep_float": ["nothing"]}],
            [],
            "keep_float: 'nothing' names no op; `tflq ops RECIPE` lists all types, names and numbers",
        ),
    ],
)
def test_what_cannot_be_studied_is_refused(
    variants: list[Any], options: list[str], said: str, recipes: Recipes
) -> None:
    recipe = recipes.write("tiny_dense", variants)
    studied = Studies(recipe.parent, recipe.parent).study(recipe, *options, exit_code=2)
    assert studied.ran.stderr.splitlines()[-1] == f"error: {said}"


@pytest.fixture(scope="module")
def outcome(recipes: Recipes) -> SensitivityResult:
    recipe = load_recipe(recipes.write("tiny_conv_residual", ["int8"]))
    return study(recipe, SensitivityRequest(by="layer"), Settings(jobs=2), TrialLimits(trials=6))


@pytest.mark.parametrize("width", [80, 120])
def test_table_keeps_to_its_width(width: int, outcome: SensitivityResult) -> None:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table.rich_table(outcome, width))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[1].split() == ["here", "alone", "wins", "bytes", "ops"]
    assert "…" not in lines[1]


def chain(*types: str, weights: Tensor | None = None) -> Graph:
    """Ops one behind the other, each reading what the one before it writes."""
    plain = named_graph(tuple((type_, f"net/layer_{place}/{type_}") for place, type_ in enumerate(types)))
    (main_,) = plain.subgraphs
    if weights is None:
        return plain
    first, *others = main_.operators
    operators = (Operator(0, first.type, 1, (*first.inputs, weights.index), first.outputs), *others)
    return Graph((Subgraph(0, "main", (*main_.tensors, weights), operators, (0,), main_.outputs),), (), (), 0, 3, "")


def test_groups_are_ops_types_or_layers() -> None:
    net = chain("CONV_2D", "RELU", "CONV_2D")
    assert [one.name for one in groups(net, "op", [0, 2])] == ["#0", "#2"]
    assert groups(net, "type", [0, 1, 2]) == (Group("CONV_2D", (0, 2)), Group("RELU", (1,)))
    assert [one.name for one in groups(net, "layer", [1])] == ["net/layer_1"]


@pytest.mark.parametrize(
    ("types", "leaky", "expected"),
    [
        (["CONV_2D", "CONV_2D", "CONV_2D"], [], {1}),
        (["CONV_2D", "RESHAPE", "CONV_2D", "CONV_2D"], [], {1, 2}),
        (["CONV_2D", "CONV_2D", "CONV_2D", "CONV_2D"], [1], {1, 2}),
        (["CONV_2D"], [], set()),
    ],
)
def test_readers_are_those_that_see_the_same_range(types: Sequence[str], leaky: list[int], expected: set[int]) -> None:
    assert readers(chain(*types), Group("#0", (0,)), leaky) == expected


def test_first_bad_op_loses_much_and_leaves_little() -> None:
    lost = [LocalLoss(0, 60, 50), LocalLoss(1, 50, 35), LocalLoss(2, 35, 20), LocalLoss(3, 20, 5)]
    assert first_bad(lost) == lost[2]
    assert first_bad(lost[:2]) is None


def evidence(net: Graph, ranges: dict[int, tuple[float, float]], variant: Mode, **more: Any) -> CauseEvidence:
    found = {
        i: Range(0, i, f"t{i}", low, high, low, high, more.get("is_fixed", False)) for i, (low, high) in ranges.items()
    }
    return CauseEvidence(
        net, variant, found, more.get("observed"), more.get("calibration_samples"), more.get("peaks", {})
    )


def test_rare_values_are_a_cause() -> None:
    lows = np.array([0.0, 1.0, 900.0])
    histogram = Histogram(lows, lows + 1, np.array([500_000, 500_000, 3]))
    seen = ActivationStatistics(type("Few", (), {"minima": np.zeros((3, 1))})(), {1: histogram})
    (cause,) = of_activation(evidence(chain("CONV_2D"), {1: (0.0, 900.0)}, Int8(), observed=seen), 1)
    assert cause.said == "rare values set its range: 99.99 % of all values lie in 0.0022 of it"


@pytest.mark.parametrize(("largest", "is_told"), [(0.01, True), (0.9, False)])
def test_fixed_steps_are_a_cause_where_answers_are_small(largest: float, is_told: bool) -> None:
    found = of_activation(evidence(chain("SOFTMAX"), {1: (0.0, largest)}, Int8(), is_fixed=True), 1)
    said = ["its integers have fixed steps of at least 1/256, but its largest value is 0.01"]
    assert [cause.said for cause in found] == (said if is_told else [])


@pytest.mark.parametrize(
    ("variant", "kinds"),
    [
        (Int8(), []),
        (Int8(per_channel=False), ["weights"]),
        (Int8(per_channel_dense=False), []),
    ],
)
def test_weights_are_a_cause_where_channels_share_a_scale(variant: Mode, kinds: list[str]) -> None:
    values = np.ones((4, 1, 1, 3), "<f4")
    values[2] = 100
    stored = values.view(np.uint8).reshape(-1)
    net = chain("CONV_2D", weights=Tensor(2, "w", "float32", values.shape, values.shape, 2, stored=stored))
    found = causes(evidence(net, {}, variant), net.subgraphs[0].operators[0])
    assert [cause.kind for cause in found] == kinds
    assert all("100 times as large" in cause.said for cause in found)


def test_lone_sample_is_told_by_its_row(recipes: Recipes, planted: Path, tmp_path: Path) -> None:
    """As the calibration data has it, whatever the order of calls."""
    file = recipes.folder / "lone"
    rows = np.load(recipes.data / "vectors.npz")["x"].copy()
    rows[5] *= 100
    np.savez(tmp_path / "rows.npz", x=rows)
    float32 = run_recipe(recipes.write("tiny_dense", ["float32"])).file("float32")
    calibration_samples = gathered_from(float32, tmp_path / "rows.npz", file, samples=24)
    none = np.zeros(0)
    seen = ActivationStatistics(observed(float32, calibration_samples), {0: Histogram(none, none, none)})
    lone = evidence(load(float32), {0: (-300.0, 300.0)}, Int8(), observed=seen, calibration_samples=calibration_samples)
    (cause,) = of_activation(lone, 0)
    assert cause.said.startswith("calibration row 5 alone sets its range, which is ")


@pytest.fixture(scope="module")
def pair(recipes: Recipes) -> tuple[bytes, bytes]:
    ran = run_recipe(recipes.write("tiny_conv_residual", ["float32", {"mode": "int8", "bias_correction": "off"}]))
    return ran.file("float32").read_bytes(), ran.file("int8").read_bytes()


def test_tensors_are_found_again_by_the_order_of_ops_or_by_name(pair: tuple[bytes, bytes]) -> None:
    float32, made = map(read, pair)
    found = align(float32, made)
    for one, other in found.activations.items():
        ours, theirs = found.float32.tensors[one], found.quantized.tensors[other]
        assert theirs.dtype == "int8"
        assert ours.shape == theirs.shape
    model = edit.unpack(pair[1])
    model.subgraphs[0].operators = model.subgraphs[0].operators[:-2]
    by_name = align(float32, read(edit.pack(model)))
    assert not by_name.constants
    ends = {*found.float32.inputs, *found.float32.outputs}  # whose names the adaptors took
    inner = {pair for pair in found.activations.items() if pair[0] not in ends}
    assert {pair for pair in by_name.activations.items() if pair[0] not in ends} == inner


def test_split_files_are_the_float_file_with_one_half_rounded(pair: tuple[bytes, bytes]) -> None:
    float32, made = map(read, pair)
    found = align(float32, made)
    (weights,) = read(with_rounded_weights(pair[0], found)).subgraphs
    assert [op.type for op in weights.operators] == [op.type for op in found.float32.operators]
    (op, position), integer = next(
        (place, one) for place, one in found.constants.items() if one.dtype == "int8" and one.quantization.is_per_axis
    )
    rounded, original = (
        weights.input(weights.operators[op], position),
        found.float32.input(found.float32.operators[op], position),
    )
    assert rounded is not None
    np.testing.assert_allclose(rounded.data, real_values(integer), rtol=1e-6)
    scale = np.reshape(integer.quantization.scales, (-1, 1, 1, 1))
    assert (np.abs(rounded.data - original.data) <= 0.51 * scale).all()
    (faked,) = read(with_rounded_activations(pair[0], found)).subgraphs
    counts = {type_: sum(op.type == type_ for op in faked.operators) for type_ in ("QUANTIZE", "DEQUANTIZE", "CONV_2D")}
    assert counts == {"QUANTIZE": 21, "DEQUANTIZE": 21, "CONV_2D": 5}
    assert all(faked.read_by(op)[1].dtype == "float32" for op in faked.operators if op.type == "CONV_2D")


def test_constants_stand_for_real_numbers_by_channel() -> None:
    stored = np.array([[1, 2], [3, 4]], np.int8).view(np.uint8).reshape(-1)
    tensor = Tensor(0, "w", "int8", (2, 2), (2, 2), 0, Quantization((0.5, 2.0), (0, 0), 1), stored=stored)
    np.testing.assert_array_equal(real_values(tensor), [[0.5, 4.0], [1.5, 8.0]])
