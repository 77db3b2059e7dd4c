"""Ops that keep_int16 names have 16-bit activations in the file, nothing else has, and nothing is in float for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running import Ran, Recipes

from tflq.errors import RecipeError
from tflq.flatbuffer import Operator, Subgraph

PLAIN = {"bias_correction": "off"}


@pytest.fixture(scope="module")
def ran(recipes: Recipes) -> Ran:
    def only(name: str, *ops: Any, **keys: Any) -> Any:
        return {"mode": "int8_only", "name": name, "keep_int16": [*ops], **PLAIN, **keys}

    variants: list[Any] = ["float32", {"mode": "int8_only", **PLAIN}, {"mode": "int16x8_only", **PLAIN}]
    variants += [
        only("inner", "#1", "ADD"),
        only("all", "*", inference_output_type="int16"),
        only("not_last", "#1", inference_output_type="int16"),
        only("none"),
        only("lost", "CONV"),
        only("both", "MEAN", keep_float=["MEAN"]),
        {"mode": "int8", "name": "mixed", "keep_int16": ["#1", "#3"], "keep_float": ["ADD"], **PLAIN},
        {"mode": "int8", "name": "bytes", "keep_int16": [5], "inference_output_type": "uint8", **PLAIN},
        {"mode": "int8", "name": "corrected", "keep_int16": ["CONV_2D"], "bias_correction": "on", "rounding": "on"},
    ]
    evaluation = {"dataset": {"npz": str(recipes.data / "images.npz")}, "samples": "all"}
    return recipes.run("tiny_conv", variants, evaluation=evaluation)


def main(ran: Ran, name: str) -> Subgraph:
    return ran.graph(name).subgraphs[0]


def types(ran: Ran, name: str) -> list[str]:
    """Each op with the dtype that it writes."""
    graph = main(ran, name)
    return [f"{op.type} {graph.written_by(op)[0].dtype}" for op in graph.operators]


def sqnr(ran: Ran, name: str) -> float:
    measured = ran.variant(name).measured
    assert measured is not None
    (output,) = measured.fidelity.values()
    return np.inf if output.sqnr_db is None else output.sqnr_db


def operator(ran: Ran, name: str, type_: str, number: int = 0) -> Operator:
    return [op for op in main(ran, name).operators if op.type == type_][number]


def constants(ran: Ran, name: str, op: Operator) -> list[Any]:
    return [np.asarray(tensor.data) for tensor in main(ran, name).read_by(op) if tensor.is_constant]


def test_ops_that_are_named_have_16_bits_and_no_others(ran: Ran) -> None:
    assert ran.codes["inner"] == 0
    assert types(ran, "inner") == [
        *("CONV_2D int8", "QUANTIZE int16", "CONV_2D int16", "ADD int16", "QUANTIZE int8"),
        *("DEPTHWISE_CONV_2D int8", "MEAN int8", "FULLY_CONNECTED int8"),
    ]


def test_op_in_16_bits_has_the_weights_and_the_bias_of_the_16_bit_file(ran: Ran) -> None:
    mixed, whole = operator(ran, "inner", "CONV_2D", 1), operator(ran, "int16x8_only", "CONV_2D", 1)
    assert mixed.version == whole.version
    pairs = zip(constants(ran, "inner", mixed), constants(ran, "int16x8_only", whole), strict=True)
    weights, _ = ((one.dtype.name, np.array_equal(one, other)) for one, other in pairs)
    assert weights == ("int8", True)
    assert [array.dtype.name for array in constants(ran, "inner", mixed)] == ["int8", "int64"]


def test_file_with_all_ops_in_16_bits_is_that_of_int16x8_behind_its_input(ran: Ran) -> None:
    assert ran.codes["all"] == 0
    assert types(ran, "all") == ["QUANTIZE int16", *types(ran, "int16x8_only")]
    (port,) = ran.variant("all").file.outputs
    assert port.dtype == "int16"
    assert sqnr(ran, "int8_only") < sqnr(ran, "all")


def test_output_of_an_op_in_16_bits_leaves_the_file_in_each_type(ran: Ran) -> None:
    assert types(ran, "bytes")[-3:] == ["FULLY_CONNECTED int16", "QUANTIZE int8", "QUANTIZE uint8"]
    assert types(ran, "corrected")[-1] == "DEQUANTIZE float32"
    assert ran.codes["bytes"] == ran.codes["corrected"] == 0


def test_ops_in_float_and_in_16_bits_stand_side_by_side(ran: Ran) -> None:
    assert ran.codes["mixed"] == 0
    kept = [op.type for op in ran.variant("mixed").file.float_ops]
    assert kept == ["ADD"]
    computing = [each for each in types(ran, "mixed") if not each.startswith(("QUANTIZE", "DEQUANTIZE"))]
    assert computing[1:4] == ["CONV_2D int16", "ADD float32", "DEPTHWISE_CONV_2D int16"]
    assert sqnr(ran, "mixed") > sqnr(ran, "int8_only") - 1


def test_corrections_reach_ops_in_16_bits(ran: Ran) -> None:
    assert sqnr(ran, "corrected") > sqnr(ran, "inner") + 3


def test_nothing_named_changes_nothing(ran: Ran) -> None:
    assert ran.file("none").read_bytes() == ran.file("int8_only").read_bytes()


def test_selectors_that_cannot_be_met_are_told(ran: Ran) -> None:
    assert [ran.codes[name] for name in ("lost", "both", "not_last")] == [2, 2, 5]
    assert "keep_int16: 'CONV' names no op (did you mean 'CONV_2D'?)" in str(ran.variant("lost").why)
    assert ran.variant("both").why == "keep_int16 and keep_float both name MEAN #4: remove them from one of the two"
    assert "but the op that writes 'scores' is none. Name it in keep_int16" in str(ran.variant("not_last").why)


def test_op_without_a_16_bit_kernel_is_told(ran: Ran) -> None:
    from tflq.conversion import named_int16_ops
    from tflq.flatbuffer.graph import Graph
    from tflq.modes import Int8

    (graph,) = ran.graph("float32").subgraphs
    others = tuple(Operator(op.index, "SQRT", 1, op.inputs, op.outputs) for op in graph.operators)
    whole = Graph((Subgraph(0, "", graph.tensors, others, graph.inputs, graph.outputs),), (), (), 0, 3, "")
    with pytest.raises(RecipeError) as caught:
        named_int16_ops(whole, Int8(keep_int16=("SQRT",)), ())
    assert str(caught.value) == (
        "keep_int16: there is no kernel with 16-bit activations for SQRT #0, SQRT #1, SQRT #2, SQRT #3 and 2 more. Name"
        " other ops, or keep these in float with keep_float"
    )


def test_contract_names_ops_of_the_wrong_width(ran: Ran) -> None:
    from tflq.activation_widths import wrong_widths

    graph = ran.graph("inner")
    assert [*wrong_widths(graph, [2, 3])] == []
    found = [f"{each.where} {each.message}" for each in wrong_widths(graph, [2, 5])]
    assert found == [
        "ADD 'add_1' computes in 16 bits, though keep_int16 does not name it",
        "DEPTHWISE_CONV_2D 'Relu;depthwise' computes in int8, though keep_int16 names it",
    ]


def test_report_lists_the_ops_in_16_bits(ran: Ran) -> None:
    by_name = {variant["name"]: variant for variant in ran.report["variants"]}
    assert [op["type"] for op in by_name["inner"]["int16_ops"]] == ["CONV_2D", "ADD"]
    assert by_name["int8_only"]["int16_ops"] == []
    assert "| inner | CONV_2D | `Conv2D_11` |" in ran.page


def test_scores_that_share_a_scale_with_boxes_are_alive_in_16_bits(recipes: Recipes) -> None:
    """In 8 bits one step of the boxes is larger than all scores; 16 bits of the joined output end that."""
    rows = {"dataset": {"npz": str(recipes.data / "images.npz")}, "samples": "all"}
    joined = {"keep_int16": ["CONCATENATION", "RESHAPE"], "inference_output_type": "int16"}
    variants: list[Any] = [{"mode": "int8_only", **PLAIN}, {"mode": "int8_only", "name": "kept", **joined, **PLAIN}]
    ran = recipes.run("tiny_conv_heads", ["float32", *variants], evaluation=rows)
    assert ran.codes == {"float32": 0, "int8_only": 1, "kept": 0}
    dead = {}
    for name in ("int8_only", "kept"):
        measured = ran.variant(name).measured
        assert measured is not None
        channels = measured.fidelity["found"].channels
        assert channels is not None
        dead[name] = channels.dead
    assert dead == {"int8_only": (4, 5, 6), "kept": ()}
    assert "CONCATENATION int16" in types(ran, "kept")
