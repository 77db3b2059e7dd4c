"""The compiler of the Arm Ethos-U: what it makes of files, the gates that read it, and files that kill it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner
from results import COMPILED, LACKING, file
from running import Recipes

from tflq.cli import main
from tflq.errors import EvaluationError, RecipeError
from tflq.gates import Gates
from tflq.recipe import load
from tflq.recipe_files import data_files
from tflq.report.targets import to_dict
from tflq.result import Gate
from tflq.target_gates import target_gates
from tflq.targets import verdict as judging
from tflq.targets.op_problem import OpProblem
from tflq.targets.shipped import load as load_target
from tflq.targets.target_verdict import TargetVerdict
from tflq.targets.tools import tool_versions, vela_command, vela_version
from tflq.targets.vela import VelaRun, run_vela
from tflq.targets.verdict import file_verdicts

needs_vela = pytest.mark.skipif(vela_command() is None, reason="the compiler ethos-u-vela is not installed")
U55 = "ethos-u55-128"
BOARD = """\
name: board
title: our board
source: its manual
date: 2026-11-29
otherwise: falls back
table_of: ethos-u55
vela:
  board: {accelerator: ethos-u55-64, system_config: Ethos_U55_Deep_Embedded, memory_mode: MODE}
"""


def narrow() -> bytes:
    """The CNN with weights of 4 bits in its convolution."""
    model = edit.load("cnn_int8")
    weights = edit.read_by(model, "CONV_2D", 1)
    weights.type = schema.TensorType.INT4
    buffer = model.buffers[weights.buffer]
    buffer.data = np.array(buffer.data)[: -(-len(buffer.data) // 2)]
    return edit.packed(model)


def compiled(path: Path, name: str = U55) -> TargetVerdict:
    (verdict,) = file_verdicts(path, [load_target(name)])
    return verdict


def planned_for_micro(path: Path) -> int | None:
    (verdict,) = file_verdicts(path, [load_target("micro")])
    return verdict.ram_bytes


@needs_vela
def test_an_op_that_is_left_to_the_cpu_has_its_reason() -> None:
    verdict = compiled(edit.DATA / "cnn_int8.tflite")
    assert verdict.outcome == "falls back"
    assert [(problem.type, problem.reason) for problem in verdict.problems] == [("DEQUANTIZE", "Unsupported opType")]
    assert 0 < verdict.share < 0.01
    assert verdict.not_known == ()
    assert verdict.untimed == ""
    assert "an estimated 0.00" in verdict.in_words
    assert verdict.in_words.endswith(" ms a call, without the ops on the CPU")


@needs_vela
@pytest.mark.parametrize("name", ["ethos-u65-512", "ethos-u85-2048"])
def test_a_file_of_integers_runs_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(edit.integer_only())
    verdict = compiled(path, name)
    assert (verdict.target, verdict.outcome, verdict.problems, verdict.share) == (name, "runs whole", (), 0)
    assert verdict.compiled is not None
    assert verdict.compiled.dram_bytes > 0
    assert verdict.ram_bytes
    assert verdict.flash_bytes != path.stat().st_size
    assert verdict.estimated_ms
    assert f", {name}, Ethos_U" in verdict.source


@needs_vela
@pytest.mark.slow
def test_more_units_are_faster() -> None:
    small, large = (compiled(edit.DATA / "cnn_int8.tflite", f"ethos-u55-{units}") for units in (32, 256))
    assert small.estimated_ms is not None
    assert large.estimated_ms is not None
    assert small.estimated_ms > large.estimated_ms


@needs_vela
def test_a_file_in_float_is_left_to_the_cpu() -> None:
    verdict = compiled(edit.DATA / "loop_float32.tflite")
    assert verdict.outcome in ("falls back", "does not run")
    assert verdict.estimated_ms is None
    assert verdict.untimed


@needs_vela
def test_a_file_that_kills_the_compiler_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(narrow())
    verdict = compiled(path)
    assert (verdict.outcome, verdict.outside, verdict.share) == ("falls back", 8, 1)
    assert verdict.in_words.startswith("falls back: the compiler Vela cannot compile it: it ended with SIGFPE; ")
    assert "its weights are int4 beside int8, and must be int8" in verdict.in_words
    assert "; on the CPU, TensorFlow Lite Micro has all 8 ops; RAM " in verdict.in_words
    assert verdict.ram_bytes == planned_for_micro(path)
    (gate,) = target_gates(Gates(max_estimated_ms=1), file("int8", 1000, "int8"), [verdict])
    assert gate.in_words == f"max_estimated_ms: {U55}: the compiler Vela cannot compile it: it ended with SIGFPE"


def test_a_file_that_neither_the_compiler_nor_the_cpu_takes_does_not_run() -> None:
    run = VelaRun("Vela 5.2.0", error="the compiler Vela cannot compile it: tensor has no shape")
    (by_table,) = file_verdicts(edit.DATA / "cnn_int8.tflite", [load_target("ethos-u55")])
    verdict = by_table.refused(run, LACKING)
    assert (verdict.outcome, verdict.ram_bytes) == ("does not run", None)
    first, *_, last = verdict.in_words.split("; ")
    assert first == "does not run: the compiler Vela cannot compile it: tensor has no shape"
    assert last.startswith("on the CPU, TensorFlow Lite Micro lacks ")
    told = to_dict(verdict)
    assert told["compiler_error"] == run.error
    assert [each["type"] for each in told["problems_on_cpu"]] == [each.type for each in LACKING.problems]
    assert told["dram_bytes"] is None


@needs_vela
def test_what_the_compiler_refuses_is_told(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(edit.integer_only()[:1500] + bytes(100))
    command = vela_command()
    assert command is not None
    options = load_target(U55).vela_options
    assert options is not None
    assert run_vela(path, U55, options, command).error.startswith("the compiler Vela cannot compile it: ")


@needs_vela
@pytest.mark.slow
def test_the_executable_on_the_path_is_called_if_the_package_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "vela"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m ethosu.vela "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    vela_command.cache_clear()
    try:
        assert vela_command() == (str(script),)
        verdict = compiled(edit.DATA / "cnn_int8.tflite")
    finally:
        vela_command.cache_clear()
    assert verdict.source.startswith(f"Vela {vela_version()}, ")
    assert verdict.estimated_ms


@needs_vela
def test_a_board_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "board.yaml"
    own.write_text(BOARD.replace("MODE", "Sram_Only"))
    verdict = compiled(edit.DATA / "cnn_int8.tflite", str(own))
    assert (verdict.target, verdict.outcome) == ("board", "falls back")
    assert "ethos-u55-64, Ethos_U55_Deep_Embedded, Sram_Only" in verdict.source
    own.write_text(BOARD.replace("MODE", "Sram_Onl"))
    with pytest.raises(EvaluationError, match=r"target board: Vela refuses its configuration: .*Sram_Onl not found"):
        compiled(edit.DATA / "cnn_int8.tflite", str(own))


def test_a_board_of_ones_own_has_the_table_of_another_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "vela_command", lambda: None)
    own = tmp_path / "board.yaml"
    own.write_text(BOARD.replace("MODE", "Sram_Only") + "ops: {ADD: {}}\n")
    board, table = load_target(str(own)), load_target("ethos-u55")
    assert (board.name, list(board.vela), list(board.ops), board.every) == ("board", ["board"], ["ADD"], table.every)
    own.write_text(BOARD.replace("ethos-u55\n", "ethos-u5\n"))
    with pytest.raises(RecipeError, match=r"no target has the name 'ethos-u5' \(did you mean"):
        load_target(str(own))


def test_a_name_without_a_size_is_judged_by_its_table() -> None:
    verdict = compiled(edit.DATA / "cnn_int8.tflite", "ethos-u55")
    assert verdict.compiled is None
    assert verdict.not_known[-1] == ("Time, memory and other conditions: name one with its size, such as ethos-u55-32.")


def test_without_the_compiler_the_table_judges_and_says_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "vela_command", lambda: None)
    monkeypatch.setattr("tflq.target_gates.vela_command", lambda: None)
    verdict = compiled(edit.DATA / "cnn_int8.tflite")
    assert verdict.outcome == "falls back"
    assert verdict.not_known[-1] == (
        "Time, memory and other conditions: with tflq[ethos-u], tflq compiles the file with Vela."
    )
    for gate in target_gates(Gates(max_estimated_ms=1, max_ram_kb=1), file("int8", 1000, "int8"), [verdict]):
        assert not gate.passed
        assert gate.in_words.endswith("is not known without the compiler of the target, which tflq[ethos-u] installs")


def test_a_file_that_is_compiled_already_is_not_compiled_again(tmp_path: Path) -> None:
    model = edit.load("cnn_int8")
    number = edit.operator(model, "SOFTMAX").opcodeIndex
    model.operatorCodes[number] = schema.OperatorCodeT(
        builtinCode=schema.BuiltinOperator.CUSTOM, deprecatedBuiltinCode=32, customCode="ethos-u", version=1
    )
    edit.operator(model, "CUSTOM").builtinOptionsType = schema.BuiltinOptions.NONE
    edit.operator(model, "CUSTOM").builtinOptions = None
    path = tmp_path / "net.tflite"
    path.write_bytes(edit.packed(model))
    verdict = compiled(path)
    assert verdict.compiled is None
    assert verdict.not_known[-1].endswith("the file is compiled already.")


def time_gate(limit: float, verdict: TargetVerdict) -> Gate:
    (gate,) = target_gates(Gates(max_estimated_ms=limit), file("int8", 34_328, "int8"), [verdict])
    return gate


def test_gates_read_the_compiler() -> None:
    run = COMPILED.compiled
    assert run is not None
    assert time_gate(2.0, COMPILED).passed
    assert time_gate(1.0, COMPILED).in_words == "max_estimated_ms is 1.25, but the limit is 1"
    slow = replace(COMPILED, problems=(OpProblem("GELU", "net/gelu", "Unsupported opType"),))
    assert time_gate(2.0, slow).in_words == (
        "max_estimated_ms: ethos-u55-128: 1 of 3 ops with less than 1 % of the multiply-adds run on the CPU, whose time"
        " is not known"
    )
    assert time_gate(1.0, slow).in_words == "max_estimated_ms is 1.25, but the limit is 1"
    cpu_alone = replace(COMPILED, compiled=replace(run, milliseconds=None))
    assert time_gate(2.0, cpu_alone).in_words == "max_estimated_ms: ethos-u55-128: all ops run on the CPU"
    gates = Gates(max_ram_kb=35.0, max_flash_kb=34.0)
    ram, flash = target_gates(gates, file("int8", 34_328, "int8"), [COMPILED])
    assert (ram.measured, ram.passed) == (36.0, False)
    assert (flash.measured, flash.passed) == (30.0, True)


def test_the_gate_on_time_needs_a_target_with_a_model_of_time(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = "model: net\nmode: float32\ntargets: [TARGET]\ngates: {max_estimated_ms: 2, max_ram_kb: 1}\n"
    recipe.write_text(text.replace("TARGET", "micro, ethos-u55"))
    with pytest.raises(RecipeError, match=r"yaml:4: gates\.max_estimated_ms: needs a target that has a model of time"):
        load(recipe)
    (tmp_path / "board.yaml").write_text(BOARD.replace("MODE", "Sram_Only, config: vela.ini"))
    recipe.write_text(text.replace("TARGET", "board.yaml"))
    loaded = load(recipe)
    assert [target.name for target in loaded.checked_targets] == ["board"]
    assert tmp_path / "vela.ini" in data_files(loaded)
    assert tool_versions(loaded.checked_targets) == {"ethos-u-vela": vela_version() or "not installed"}


def test_lint_compiles() -> None:
    ran = CliRunner().invoke(main, ["lint", str(edit.DATA / "cnn_int8.tflite"), "--target", U55, "--json"])
    assert ran.exit_code == 0
    assert ('"estimated_ms": null' in ran.output) == (vela_command() is None)


@needs_vela
@pytest.mark.slow
def test_a_run_has_the_estimate(recipes: Recipes) -> None:
    ran = recipes.run("tiny_conv", ["int8_only"], targets=[U55], gates={"max_estimated_ms": 5})
    (variant,) = ran.result.variants
    assert [(gate.name, gate.passed) for gate in variant.gates if gate.name.startswith("max_e")] == [
        ("max_estimated_ms", True)
    ]
    assert "an estimated" in ran.page
