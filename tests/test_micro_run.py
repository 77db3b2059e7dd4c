"""TensorFlow Lite Micro's own interpreter: the arena that it uses, and answers that are wrong without a word."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema
from results import LACKING
from running import Recipes

from tflq import flatbuffer
from tflq.stages import targets as stage
from tflq.targets.arena import arena_bytes
from tflq.targets.memory_plan import memory_plan
from tflq.targets.micro_run import MicroRun, run_micro
from tflq.targets.tools import has_micro

needs_micro = pytest.mark.skipif(not has_micro(), reason="the wheel tflite-micro is not installed")
PLAIN = {"bias_correction": "off", "rounding": "off", "equalization": "off", "headroom": 1}


def images(dtype: str, count: int = 2) -> list[list[np.ndarray]]:
    values = np.random.default_rng(0).integers(0, 100, (count, 1, 8, 8, 3))
    return [[value.astype(dtype)] for value in values]


@needs_micro
@pytest.mark.parametrize(("name", "dtype"), [("cnn_int8", "uint8"), ("cnn_int16x8", "float32")])
def test_the_planned_arena_suffices_and_is_not_far_too_large(name: str, dtype: str) -> None:
    content = edit.raw(name)
    graph, options = flatbuffer.read(content), flatbuffer.operator_options(content)
    plan = memory_plan(graph, options)
    run = run_micro(content, images(dtype), plan.activation_bytes)
    assert run.error == ""
    assert run.arena_bytes is not None
    assert run.arena_bytes <= arena_bytes(graph, options, plan) <= run.arena_bytes + 4096
    assert "on 2 calls, its outputs and those of LiteRT's reference kernels" in run.in_words


def product(adj_x: bool, adj_y: bool) -> bytes:
    """A file of one product of matrices that are no constants."""
    model = edit.load("cnn_int8")
    graph, op = model.subgraphs[0], edit.operator(model, "SOFTMAX")
    model.operatorCodes[op.opcodeIndex].builtinCode = schema.BuiltinOperator.BATCH_MATMUL
    model.operatorCodes[op.opcodeIndex].deprecatedBuiltinCode = schema.BuiltinOperator.BATCH_MATMUL
    op.builtinOptions = schema.BatchMatMulOptionsT(adjX=adj_x, adjY=adj_y)
    op.builtinOptionsType = schema.BuiltinOptions.BatchMatMulOptions
    op.inputs, op.outputs, graph.operators = [0, 1], [2], [op]
    shapes = [[8, 400, 8] if adj_x else [8, 8, 400], [8, 50, 400] if adj_y else [8, 400, 50], [8, 8, 50]]
    graph.tensors = [
        schema.TensorT(name=str(place), shape=shape, type=schema.TensorType.FLOAT32)
        for place, shape in enumerate(shapes)
    ]
    graph.inputs, graph.outputs, model.signatureDefs = [0, 1], [2], []
    return edit.packed(model)


@needs_micro
@pytest.mark.parametrize("adj_x", [False, True])
@pytest.mark.parametrize("adj_y", [False, True])
def test_the_arena_has_the_transposed_inputs_of_a_product(
    adj_x: bool, adj_y: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    from tflite_micro import runtime

    content = product(adj_x, adj_y)
    graph, options = flatbuffer.read(content), flatbuffer.operator_options(content)
    runtime.Interpreter.from_bytes(content, arena_size=10_000_000).print_allocations()
    said = re.search(r"Arena allocation total (\d+) bytes", capfd.readouterr().err)
    assert said is not None
    assert int(said[1]) <= arena_bytes(graph, options, memory_plan(graph, options)) <= int(said[1]) + 4096


def smallest_arena(content: bytes, most: int) -> int:
    """The smallest arena, in steps of 16 bytes, in which the interpreter allocates the tensors of the file."""
    from tflite_micro import runtime

    too_small, enough = 0, most // 16
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        try:
            runtime.Interpreter.from_bytes(content, arena_size=16 * middle)
            enough = middle
        except RuntimeError:
            too_small = middle
    return 16 * enough


def enlarged(name: str) -> bytes:
    """The file on images of 64 × 64. On tiny ones, the interpreter needs more memory to plan than to run."""
    model = edit.load(name)
    for tensor in model.subgraphs[0].tensors:
        if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is None:
            tensor.shape = [size * factor for size, factor in zip(tensor.shape, (1, 8, 8, 1), strict=True)]
            tensor.shapeSignature = None
    return edit.packed(model)


@needs_micro
@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn_int8", "cnn_int16x8"])
def test_the_plan_is_the_smallest_that_works(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Found by bisection: the planned activations beside the structures that the interpreter reports, and no more."""
    from tflite_micro import runtime

    content = enlarged(name)
    graph, options = flatbuffer.read(content), flatbuffer.operator_options(content)
    plan = memory_plan(graph, options)
    runtime.Interpreter.from_bytes(content, arena_size=1_000_000).print_allocations()
    said = re.search(r"Arena allocation tail (\d+) bytes", capfd.readouterr().err)
    assert said is not None
    needed = plan.activation_bytes + int(said[1])
    smallest = smallest_arena(content, 1_000_000)
    assert needed <= smallest <= needed + 16
    assert smallest <= arena_bytes(graph, options, plan)


@needs_micro
def test_wrong_answers_are_found_where_nothing_is_said() -> None:
    """Constants behind the flatbuffer are other values there."""
    model = edit.load("cnn_int8")
    constant = edit.read_by(model, "FULLY_CONNECTED", 1).buffer
    data = bytes(model.buffers[constant].data)
    model.buffers[constant] = schema.BufferT(data=None, offset=2, size=len(data))
    model.buffers[constant].offset = len(edit.packed(model))
    run = run_micro(edit.packed(model) + data, images("uint8"), 1000)
    assert "answers wrongly without a word: output 0 differs" in run.error
    assert LACKING.with_run(run).outcome == "does not run"


@needs_micro
def test_an_op_that_is_lacking_is_named() -> None:
    model = edit.load("cnn_int8")
    code = model.operatorCodes[edit.operator(model, "SOFTMAX").opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.GELU, 127
    run = run_micro(edit.packed(model), images("uint8"), 1000)
    assert run.error.startswith("TensorFlow Lite Micro cannot run it: Didn't find op for builtin opcode 'GELU'")


@needs_micro
def test_a_run_has_the_arena_and_the_difference(recipes: Recipes) -> None:
    ran = recipes.run("tiny_conv", ["int8_only"], targets=["micro"], converter=PLAIN)
    ((verdict,),) = (variant.targets for variant in ran.result.variants)
    assert verdict.run is not None
    assert (verdict.outcome, verdict.run.calls, verdict.run.error) == ("runs whole", 3, "")
    assert ran.report["variants"][0]["targets"][0]["run"]["arena_bytes"] == verdict.run.arena_bytes
    assert "run here in an arena of" in ran.page


def test_what_a_run_says() -> None:
    good = MicroRun(3, 37_888, 0.0)
    assert good.in_words == (
        "run here in an arena of 37.9 kB on 64 bits; on 3 calls, its outputs and those of LiteRT's reference kernels"
        " are equal"
    )
    assert MicroRun(3, 37_888, 1.0).in_words.endswith("differ by at most 1")
    assert MicroRun(3, error="it crashed").in_words == "it crashed"


def test_without_the_interpreter_the_verdict_says_what_would_install_it(
    recipes: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "has_micro", lambda: False)
    ran = recipes.run("tiny_conv", ["float32"], targets=["micro"], calibration=None)
    ((verdict,),) = (variant.targets for variant in ran.result.variants)
    assert verdict.not_known[-1].startswith("Whether its answers are right there: with tflq[micro], tflq runs")
    assert not Path(ran.output, "micro").exists()
