"""Targets: which files run there, why others do not, and the memory that they need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner, Result
from results import LACKING, file
from running import Ran, Recipes

from tflq import flatbuffer
from tflq.cli import main
from tflq.errors import RecipeError
from tflq.gates import Gates
from tflq.recipe import load
from tflq.target_gates import target_gates
from tflq.targets.memory_plan import memory_plan
from tflq.targets.shipped import load as load_target
from tflq.targets.shipped import shipped
from tflq.targets.target_verdict import TargetVerdict
from tflq.targets.verdict import verdicts

NAMES = ["coreml", "cpu", "edgetpu", "ethos-u55", "ethos-u85", "gpu", "hexagon", "micro"]
HEADS = {"cnn_int8": 512, "cnn_int16x8": 1152, "loop_float32": 176}
"""The head of the arena that TensorFlow Lite Micro's RecordingMicroAllocator reported for each file, in bytes."""


def verdict_on(data: bytes, name: str) -> TargetVerdict:
    (verdict,) = verdicts(data, [load_target(name)])
    return verdict


def tflq(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="tflq")


def test_every_target_has_a_source_and_a_date() -> None:
    known = shipped()
    assert [target.name for target in known] == NAMES
    assert all(target.source and target.date and (target.ops or target.built_in) for target in known)


def test_every_op_of_a_table_is_one_of_the_schema() -> None:
    types = {*vars(schema.BuiltinOperator), "ethos-u"}
    unknown = [op for target in shipped() for op in (*target.ops, *target.not_known) if op not in types]
    assert unknown == []


def test_micro_has_the_ops_that_its_runtime_registers() -> None:
    assert len(load_target("micro").ops) == 100


@pytest.mark.parametrize(
    ("name", "target", "outcome"),
    [
        ("cnn_int8", "micro", "runs whole"),
        ("cnn_int16x8", "micro", "runs whole"),
        ("cnn_float16", "micro", "does not run"),
        ("loop_float32", "micro", "runs whole"),
        ("cnn_int8", "ethos-u55-128", "falls back"),
        ("cnn_float16", "edgetpu", "falls back"),
        ("cnn_int8", "cpu", "runs whole"),
        ("cnn_int8", "coreml", "falls back"),
    ],
)
def test_outcome(name: str, target: str, outcome: str) -> None:
    assert verdict_on(edit.raw(name), target).outcome == outcome


def test_a_dtype_that_is_lacking_is_named_once_for_all_its_ops() -> None:
    said = verdict_on(edit.raw("cnn_float16"), "micro").in_words
    assert "DEQUANTIZE 'Relu' and 5 more: its input is float16, and this op has int8, int16 and uint8 only" in said


def test_ops_outside_have_their_share_of_the_multiply_adds() -> None:
    verdict = verdict_on(edit.raw("cnn_int8"), "ethos-u55")
    assert [problem.type for problem in verdict.problems] == ["DEQUANTIZE"]
    assert verdict.outside == 1
    assert 0 < verdict.share < 0.01


def test_after_the_first_op_that_edgetpu_lacks_all_run_on_the_cpu() -> None:
    model = edit.load("cnn_int8")
    edit.read_by(model, "MEAN", 0).type = schema.TensorType.INT16
    verdict = verdict_on(edit.packed(model), "edgetpu")
    assert verdict.outside > len(verdict.problems)
    assert {problem.type for problem in verdict.problems} >= {"MEAN", "DEQUANTIZE"}


def test_an_op_that_no_table_has_is_named() -> None:
    model = edit.load("cnn_int8")
    number = edit.operator(model, "MEAN").opcodeIndex
    model.operatorCodes[number].builtinCode = schema.BuiltinOperator.GELU
    model.operatorCodes[number].deprecatedBuiltinCode = 0
    for name in ("micro", "edgetpu", "gpu", "hexagon", "coreml"):
        (problem,) = [each for each in verdict_on(edit.packed(model), name).problems if each.type == "GELU"]
        assert "the target does not have this op" in problem.reason


def test_an_open_size_is_refused_or_taken_as_1() -> None:
    model = edit.load("cnn_int8")
    edit.read_by(model, "CONV_2D", 0).shapeSignature = [-1, -1, 8, 3]
    data = edit.packed(model)
    for name, what in (("edgetpu", "and no size may change"), ("ethos-u55", "and only the first size may change")):
        assert any(what in problem.reason for problem in verdict_on(data, name).problems)
    assert any("takes each as 1" in sentence for sentence in verdict_on(data, "micro").not_known)


def test_constants_behind_the_flatbuffer_do_not_run_on_micro() -> None:
    model = edit.load("cnn_int8")
    whole = edit.packed(model)
    weights = model.buffers[edit.read_by(model, "CONV_2D", 1).buffer]
    weights.offset, weights.size, weights.data = len(whole) + 64, len(weights.data), None
    data = edit.packed(model).ljust(len(whole) + 64 + weights.size, b"\1")
    said = verdict_on(data, "micro").in_words
    assert "is stored behind the flatbuffer, where this runtime does not look" in said
    assert verdict_on(data, "cpu").outcome == "runs whole"


def test_constants_with_a_scale_for_each_channel_cannot_be_dequantized_on_micro() -> None:
    model = edit.load("cnn_int8")
    tensor = edit.read_by(model, "DEQUANTIZE", 0)
    tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1, 0.2], [0, 0]
    assert (
        "has a scale for each channel, and this op uses one for all" in verdict_on(edit.packed(model), "micro").in_words
    )


def test_int16_is_slow_on_a_cpu() -> None:
    verdict = verdict_on(edit.raw("cnn_int16x8"), "cpu")
    assert len(verdict.slow) == 9
    assert verdict.slow_share == 1
    assert "9 of 9 ops with 100 % of the multiply-adds have slow kernels" in verdict.in_words


@pytest.mark.parametrize("name", HEADS)
def test_the_plan_needs_what_the_runtime_reports(name: str) -> None:
    data = edit.raw(name)
    plan = memory_plan(flatbuffer.read(data), flatbuffer.operator_options(data))
    assert plan.activation_bytes == HEADS[name]
    assert verdict_on(data, "micro").ram_bytes == HEADS[name] + plan.variable_bytes


def test_tensors_that_are_alive_together_do_not_overlap() -> None:
    for name in HEADS:
        data = edit.raw(name)
        tensors = memory_plan(flatbuffer.read(data), flatbuffer.operator_options(data)).tensors
        pairs = [(a, b) for a in tensors for b in tensors if a is not b and a.meets(b)]
        assert all(a.end <= b.offset or b.end <= a.offset for a, b in pairs)


def test_a_target_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "chip.yaml"
    own.write_text(
        "name: chip\ntitle: a chip\nsource: its manual\ndate: 2026-01-01\notherwise: falls back\n"
        "ops:\n  CONV_2D: {types: [int8], options: {stride_w: {max: 1, reason: 1 is the most}}}\n"
    )
    verdict = verdict_on(edit.raw("cnn_int8"), str(own))
    assert verdict.source == "its manual, 2026-01-01"
    assert verdict.target == "chip"
    own.write_text("name: chip\ntitel: a chip\n")
    with pytest.raises(RecipeError, match=r"chip\.yaml:2: titel: unknown key \(did you mean 'title'\?\)"):
        load_target(str(own))


def test_a_name_that_is_no_target() -> None:
    with pytest.raises(RecipeError, match=r"no target has the name 'micr' \(did you mean 'micro'\?\)"):
        load_target("micr")


def test_lint() -> None:
    file = edit.DATA / "cnn_float16.tflite"
    said = tflq("lint", file, "--target", "micro", "--target", "cpu")
    assert said.exit_code == 1
    assert said.output.startswith("micro: does not run: DEQUANTIZE")
    assert "\ncpu: runs whole\n    not known: Which float and int8 ops XNNPACK takes" in said.output
    assert tflq("lint", file).exit_code == 0
    whole = edit.DATA / "cnn_int8.tflite"
    assert tflq("lint", whole, "--target", "edgetpu").exit_code == 0
    assert tflq("lint", whole, "--target", "edgetpu", "--whole").exit_code == 1
    (report,) = json.loads(tflq("lint", whole, "--target", "micro", "--json").output)
    assert report["outcome"] == "runs whole"
    assert report["ram_bytes"] == HEADS["cnn_int8"]
    assert report["flash_bytes"] == whole.stat().st_size
    assert tflq("lint", whole, "--target", "mikro").exit_code == 2


def test_targets_are_listed() -> None:
    said = tflq("targets")
    assert [line.partition(":")[0] for line in said.output.splitlines() if not line.startswith(" ")] == NAMES
    assert [target["name"] for target in json.loads(tflq("targets", "--json").output)] == NAMES


CHIP = """\
name: chip
title: a chip
source: its manual
date: 2026-01-01
otherwise: falls back
ops:
  CONV_2D: {types: [int8]}
"""


def test_gates_of_targets() -> None:
    gates = Gates(max_ram_kb=1.6, max_flash_kb=34.0, runs_whole_on=("micro",))
    ram, flash, whole = target_gates(gates, file("int8", 34_328, "int8"), (LACKING,))
    assert (ram.measured, ram.passed) == (1.6, True)
    assert (flash.measured, flash.passed) == (34.328, False)
    assert not whole.passed
    assert whole.in_words == f"runs_whole_on micro: {LACKING.in_words}"
    (unjudged,) = target_gates(Gates(max_ram_kb=1.6), file("int8", 1000, "int8"), ())
    assert not unjudged.passed


def test_gates_bring_their_targets(tmp_path: Path) -> None:
    (tmp_path / "chip.yaml").write_text(CHIP)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: net\nmode: float32\ntargets: [chip.yaml]\ngates: {max_ram_kb: 1, runs_whole_on: [cpu]}\n")
    loaded = load(recipe)
    assert [target.name for target in loaded.checked_targets] == ["chip", "cpu", "micro"]
    assert loaded.targets == (str(tmp_path / "chip.yaml"),)


@pytest.fixture(scope="module")
def on_targets(recipes: Recipes) -> Ran:
    gates = {"max_ram_kb": 0.1, "max_flash_kb": 100, "runs_whole_on": ["micro", "edgetpu"], "min_sqnr_db": None}
    plain = {"bias_correction": "off", "rounding": "off", "equalization": "off"}
    return recipes.run("tiny_conv", ["int8", "int8_only"], targets=["cpu"], gates=gates, converter=plain)


def test_a_run_judges_every_variant(on_targets: Ran) -> None:
    for variant in on_targets.result.variants:
        assert variant.error is None
        assert [verdict.target for verdict in variant.targets] == ["cpu", "micro", "edgetpu"]
        assert [verdict.outcome for verdict in variant.targets][:2] == ["runs whole", "runs whole"]
    passed = {gate.name: gate.passed for gate in on_targets.variant("int8").gates}
    assert passed["max_flash_kb"]
    assert passed["runs_whole_on micro"]
    assert not passed["max_ram_kb"]
    assert not passed["runs_whole_on edgetpu"]
    assert on_targets.variant("int8_only").targets[2].outcome == "runs whole"


def test_the_reports_of_a_run_have_a_line_for_each_target(on_targets: Ran) -> None:
    page = on_targets.page
    assert "| int8_only | micro |" in page
    report = on_targets.report
    assert [target["target"] for target in report["variants"][0]["targets"]] == ["cpu", "micro", "edgetpu"]
