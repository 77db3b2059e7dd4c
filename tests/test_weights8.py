"""Mode weights8: int8 weights that are dequantized once, so that every op computes in float."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import Ran, Recipes

from tflq.flatbuffer import Graph, Tensor, edit, load
from tflq.interpreter import Runner
from tflq.modes import Dynamic, Weights8
from tflq.weight_only import NOT_FINITE, float_weights

MODEL = "tiny_conv_layers"
VARIANTS = [
    *("float32", "dynamic", "weights8"),
    *({"mode": "weights8", "name": choice, "bias_correction": choice} for choice in ("on", "off")),
    {"mode": "weights8", "name": "kept", "bias_correction": "off", "keep_float": ["CONV_2D"]},
    {"mode": "weights8", "name": "coarse", "bias_correction": "off", "per_channel": False},
]


@pytest.fixture(scope="module")
def ran(recipes: Recipes, data: Path) -> Ran:
    everything = {"npz": str(data / "images.npz")}
    return recipes.run(MODEL, VARIANTS, calibration={"dataset": everything, "samples": 24})


def int8_constants(graph: Graph) -> dict[str, Tensor]:
    (subgraph,) = graph.subgraphs
    return {tensor.name: tensor for tensor in subgraph.tensors if tensor.is_constant and tensor.dtype == "int8"}


def test_every_file_fulfils_its_contract_and_is_as_small_as_dynamic(ran: Ran) -> None:
    assert set(ran.codes.values()) == {0}
    assert all(not ran.variant(name).violations for name in ran.codes)
    sizes = {name: ran.graph(name).size_bytes for name in ran.codes}
    assert sizes["off"] < sizes["dynamic"] * 1.05 < sizes["float32"] / 2
    assert ran.sqnr_db("weights8") >= ran.sqnr_db("dynamic") - 0.5
    assert ran.sqnr_db("off") > ran.sqnr_db("coarse")


def test_outputs_are_those_of_the_float32_file_with_rounded_weights(ran: Ran, tmp_path: Path, data: Path) -> None:
    model = edit.unpack(ran.file("float32").read_bytes())
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    rounded = int8_constants(ran.graph("off"))
    assert len(rounded) > 1
    for name, tensor in rounded.items():
        quantization, place = tensor.quantization, names.index(name.removesuffix("_int8"))
        assert quantization is not None
        shape = [-1 if axis == quantization.dimension else 1 for axis in range(len(tensor.shape))]
        values = np.asarray(tensor.data, np.float32) * np.asarray(quantization.scales, np.float32).reshape(shape)
        model.buffers[model.subgraphs[0].tensors[place].buffer].data = values.astype("<f4").reshape(-1).view(np.uint8)
    edit.write(model, tmp_path / "rounded.tflite")
    image = {"image": np.load(data / "images.npz")["image"][:1].astype(np.float32) / 255}
    runs = [Runner(path)(image)["scores"] for path in (ran.file("off"), tmp_path / "rounded.tflite")]
    np.testing.assert_allclose(*runs, rtol=1e-5, atol=1e-6)


def test_scales_are_per_channel_and_the_versions_say_so(ran: Ran) -> None:
    for name, is_per_channel in (("off", True), ("coarse", False)):
        graph = ran.graph(name)
        assert {len(one.quantization.scales) > 1 for one in int8_constants(graph).values() if one.quantization} == {
            is_per_channel
        }
        versions = {op.version for _, op in graph.operators() if op.type == "DEQUANTIZE"}
        assert versions == {5 if is_per_channel else 2}


def test_weights_are_inside_the_flatbuffer(ran: Ran) -> None:
    buffers = edit.unpack(ran.file("off").read_bytes()).buffers
    assert all(not buffer.offset and not buffer.size for buffer in buffers)


def test_biases_are_corrected_where_that_helps(ran: Ran) -> None:
    assert ran.sqnr_db("on") > ran.sqnr_db("off")
    refinement = ran.variant("weights8").refinement
    assert refinement is not None
    assert refinement.obstacle in (None, "")
    assert len(refinement.scores) == 2


def test_ops_that_keep_float_names_have_float_weights_and_are_listed(ran: Ran) -> None:
    listed = {name: ran.variant(name).file for name in ("kept", "off")}
    assert listed["kept"] is not None
    assert listed["off"] is not None
    kept = [op for op in listed["kept"].float_ops if op.reason == "named by keep_float"]
    assert kept
    assert {op.type for op in kept} == {"CONV_2D"}
    reasons = {op.reason for op in listed["off"].float_ops}
    assert reasons <= {"its weights have fewer than 1,024 elements"}
    assert len(int8_constants(ran.graph("kept"))) < len(int8_constants(ran.graph("off")))


def test_contract_refuses_hybrid_ops_and_float_weights(ran: Ran) -> None:
    messages = {violation.message for violation in Weights8().violations(ran.graph("dynamic"))}
    assert messages == {"reads int8 weights and so quantizes its activations at run time"}
    messages = {violation.message for violation in Weights8().violations(ran.graph("kept"))}
    assert messages == {"has float weights, though they could be int8"}
    told = next(Weights8().violations(ran.graph("float32")))
    assert told.message.startswith("is still a float32 file")
    assert not [*Dynamic().violations(ran.graph("off"))]


def test_weights_that_are_not_finite_stay_in_float(ran: Ran) -> None:
    graph = load(ran.file("float32"))
    (subgraph,) = graph.subgraphs
    broken = [
        replace(tensor, stored=np.full(tensor.size_bytes // 4, np.nan, "<f4").view(np.uint8))
        if tensor.is_constant and tensor.is_float
        else tensor
        for tensor in subgraph.tensors
    ]
    changed = replace(graph, subgraphs=(replace(subgraph, tensors=tuple(broken)),))
    assert NOT_FINITE in {op.reason for op in float_weights(changed)}
