"""Ops that keep_float names are in float in the file, whole, and nothing else of the file is worse for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Ran, Recipes

from tflq.errors import ConversionError
from tflq.flatbuffer import Graph, Operator, load

CHAIN = ["#1", "#2", "#5"]
"""A convolution with a rectifier in it, the convolution that reads it, and a root."""
MODES = {"int8": "int8", "int8_only": "int8", "int16x8": "int16", "int16x8_only": "int16"}
ENDS = ["#0", "SQRT", "SOFTMAX"]


CORRECTED = {mode: {"mode": mode, "bias_correction": "auto" if mode == "int8" else "off"} for mode in MODES}


@pytest.fixture(scope="module")
def ran(recipes: Recipes) -> Ran:
    """Those of mode int8 are corrected."""
    variants: list[Any] = ["float32", "int8", "dynamic"]
    variants += [CORRECTED[mode] | {"name": f"chain_{mode}", "keep_float": [*CHAIN, "#11"]} for mode in MODES]
    variants += [CORRECTED[mode] | {"name": f"ends_{mode}", "keep_float": ENDS} for mode in MODES]
    variants += [
        {"mode": "int8", "name": "all", "keep_float": ["*"]},
        {"mode": "int8", "name": "none", "keep_float": []},
        {"mode": "int16x8_only", "name": "root_not_named", "keep_float": ["#1"]},
        {"mode": "int8", "name": "lost", "keep_float": ["SOFTMAX", "sofmax"]},
        {"mode": "dynamic", "name": "weights", "keep_float": [1, "MatMul2"]},
        {"mode": "dynamic", "name": "every_weight", "keep_float": ["CONV_2D"]},
    ]
    evaluation = {"dataset": {"npz": str(recipes.data / "images.npz")}, "samples": "all"}
    return recipes.uncorrected.run("tiny_conv_residual", variants, evaluation=evaluation)


def main(graph: Graph) -> tuple[Operator, ...]:
    return graph.subgraphs[0].operators


def named(ran: Ran, variant: str) -> list[str]:
    file = ran.variant(variant).file
    assert file is not None
    return [op.type for op in file.float_ops if op.reason == "named by keep_float"]


@pytest.mark.parametrize("mode", MODES)
def test_ops_that_are_named_are_in_float_with_their_own_weights(ran: Ran, mode: str) -> None:
    (made,), (float32,) = ran.graph(f"chain_{mode}").subgraphs, ran.graph("float32").subgraphs
    assert named(ran, f"chain_{mode}") == ["CONV_2D", "CONV_2D", "SQRT", "SQRT"]
    kept = [op for op in made.operators if op.type == "CONV_2D" and made.read_by(op)[0].dtype == "float32"]
    for ours, theirs in zip(kept, [float32.operators[1], float32.operators[2]], strict=True):
        assert ours.version == theirs.version
        for one, other in zip(made.read_by(ours)[1:], float32.read_by(theirs)[1:], strict=True):
            np.testing.assert_array_equal(np.asarray(one.data), np.asarray(other.data))
    others = [op for op in made.operators if op.type == "CONV_2D" and op not in kept]
    assert [made.read_by(op)[0].dtype for op in others] == [MODES[mode]] * 3


@pytest.mark.parametrize("mode", MODES)
def test_nothing_becomes_an_integer_between_ops_that_are_kept(ran: Ran, mode: str) -> None:
    """The second reads what the first one writes, which an addition reads as an integer."""
    operators = main(ran.graph(f"chain_{mode}"))
    first, second = (op for op in operators if op.type == "CONV_2D" and op.version == 1)
    assert first.outputs[0] == second.inputs[0]
    readers = {op.type for op in operators if first.outputs[0] in op.inputs}
    assert readers == {"CONV_2D", "QUANTIZE"}


@pytest.mark.parametrize("name", [f"{what}_{mode}" for what in ("chain", "ends") for mode in MODES])
def test_file_is_as_near_to_float_as_without(ran: Ran, name: str) -> None:
    assert ran.codes[name] == 0
    (without,), (with_float,) = (sqnr(ran, variant) for variant in ("int8", name))
    assert with_float > without - 3  # rounding of the few answers falls as it may


def sqnr(ran: Ran, name: str) -> list[float]:
    measured = ran.variant(name).measured
    assert measured is not None
    return [np.inf if output.sqnr_db is None else output.sqnr_db for output in measured.fidelity.values()]


@pytest.mark.parametrize("mode", ["int8_only", "int16x8_only"])
def test_strict_file_keeps_its_integer_ends_where_float_ops_are_at_them(ran: Ran, mode: str) -> None:
    file = ran.variant(f"ends_{mode}").file
    assert file is not None
    assert [port.dtype for port in (*file.inputs, *file.outputs)] == [MODES[mode]] * 2
    assert named(ran, f"ends_{mode}") == ["CONV_2D", "SQRT", "SQRT", "SOFTMAX"]


def test_file_with_all_ops_kept_answers_as_the_float_file(ran: Ran) -> None:
    assert sqnr(ran, "all") == [np.inf]
    assert [op.type for op in main(ran.graph("all"))] == [op.type for op in main(ran.graph("float32"))]
    assert ran.variant("all").why == "the file has no int8 op at all: it computes in float"


def test_nothing_named_changes_nothing(ran: Ran) -> None:
    assert ran.file("none").read_bytes() == ran.file("int8").read_bytes()


def test_float_op_that_is_not_named_breaks_a_strict_mode(ran: Ran) -> None:
    assert ran.codes["root_not_named"] == 6
    assert ran.variant("root_not_named").why == (
        "SQRT 'Sqrt' and 1 more of them stay in float: the quantizer knows no int16 version of this op; write"
        " x * rsqrt(x)"
    )


def test_selector_that_names_nothing_costs_its_variant_alone(ran: Ran) -> None:
    assert ran.codes["lost"] == 2
    assert ran.variant("lost").why == (
        "keep_float: 'sofmax' names no op (did you mean 'SOFTMAX'?); `tflq ops RECIPE` lists all types, names and"
        " numbers"
    )
    assert not ran.file("lost").exists()


def test_report_tells_ops_that_were_asked_for_from_others(ran: Ran) -> None:
    assert "| chain_int16x8 | SQRT | `Sqrt` | named by keep_float |" in ran.page
    reasons = {op["reason"] for variant in ran.report["variants"] for op in variant["float_ops"] or ()}
    assert reasons == {"named by keep_float", "the quantizer knows no int16 version of this op"}


def test_dynamic_keeps_the_weights_of_what_is_named(ran: Ran) -> None:
    (made,), (float32,), (plain,) = (ran.graph(name).subgraphs for name in ("weights", "float32", "dynamic"))
    dtypes = [made.read_by(op)[1].dtype for op in made.operators if op.type == "CONV_2D"]
    assert dtypes == ["float32", "float32", "int8", "int8", "int8"]  # the first has too few to be worth it
    assert [plain.read_by(op)[1].dtype for op in plain.operators if op.type == "CONV_2D"] == ["float32", *4 * ["int8"]]
    kept, original = made.read_by(made.operators[1])[1], float32.read_by(float32.operators[1])[1]
    np.testing.assert_array_equal(np.asarray(kept.data), np.asarray(original.data))
    assert len(made.tensors) == len(plain.tensors) + 1  # a bias that others read too
    grown = ran.file("weights").stat().st_size - ran.file("dynamic").stat().st_size
    assert abs(grown - 3 * 2304) < 300  # 2,304 weights of 4 bytes, where they took one
    assert sqnr(ran, "weights")[0] > 60


def test_dynamic_says_where_nothing_is_left_to_quantize(ran: Ran) -> None:
    assert ran.variant("every_weight").why == (
        "the file is still a float32 file: keep_float leaves no weights that are large enough to quantize"
    )


def test_fused_recurrent_op_that_is_kept_has_its_states(recipes: Recipes) -> None:
    kept = [{"mode": mode, "keep_float": ["#0"]} for mode in ("int8", "int16x8")]
    ran = recipes.uncorrected.run("lstm_keras2", [*kept, {"mode": "int8", "name": "without"}])
    assert ran.codes == {"int8": 0, "int16x8": 0, "without": 0}
    (subgraph,) = ran.graph("int8").subgraphs
    (recurrent,) = (op for op in subgraph.operators if op.type == "UNIDIRECTIONAL_SEQUENCE_LSTM")
    states = [tensor.index for tensor in subgraph.read_by(recurrent) if tensor.is_variable]
    assert len(set(states)) == 2
    assert sqnr(ran, "int8")[0] > sqnr(ran, "without")[0] - 2


def test_open_batch_and_several_outputs_stay_as_they_were(recipes: Recipes) -> None:
    model = {"saved_model": str(recipes.models / "two_outputs"), "batch_size": "dynamic"}
    kept = [{"mode": mode, "keep_float": ["MEAN", "#0"]} for mode in ("int8_only", "int16x8_only")]
    ran = recipes.uncorrected.run("two_outputs", kept, model=model)
    assert ran.codes == {"int8_only": 0, "int16x8_only": 0}
    shapes = {port.name: port.shape for port in ran.variant("int16x8_only").file.outputs}
    assert shapes == {"alpha": (-1, 16), "zeta": (-1, 4)}


def test_source_with_ranges_of_its_own_is_refused_in_words(recipes: Recipes) -> None:
    ran = recipes.run("fake_quantized", [{"mode": "int8", "keep_float": ["#0"]}])
    error = ran.variant("int8").error
    assert isinstance(error, ConversionError)
    assert "the source has fake-quantize ops" in str(error)


def test_op_is_known_by_its_number_where_two_have_one_name(ran: Ran, tmp_path: Path) -> None:
    from tflq import conversion
    from tflq.calibrate.observe import activations
    from tflq.calibrate.ranges import Range
    from tflq.errors import SourceError
    from tflq.flatbuffer import edit
    from tflq.modes import Int8
    from tflq.worker import Task, Workers

    model = edit.unpack(ran.file("float32").read_bytes())
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"same"
    edit.write(model, tmp_path / "same.tflite")
    ranges = tuple(Range(0, i, "", -4.0, 4.0, -4.0, 4.0) for i in activations(load(tmp_path / "same.tflite")))
    arguments = (tmp_path / "same.tflite", ranges, Int8(keep_float=("#6",)), tmp_path / "made.tflite")
    with Workers(tmp_path / "log", None, lambda _: None) as workers:
        (place,) = workers.run(Task("t", conversion.quantize, arguments, SourceError)).value.in_float
    operators = main(load(tmp_path / "made.tflite"))
    convolutions = [op.index for op in operators if op.type == "CONV_2D"]
    assert place == convolutions[3]
    assert operators[place].version == 1
