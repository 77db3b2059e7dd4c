"""Mode dynamic4: int4 weights of dense layers in blocks of 32, and weights8 for all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from running import Ran, Recipes, run_recipe

from tflq.conversion.int4_blocks import quantize_blocks
from tflq.firmware.runtime_needs import WITH_BLOCKS
from tflq.flatbuffer import Graph, Tensor, edit, load, read, real_values
from tflq.flatbuffer.constants import packed_int4
from tflq.interpreter import Runner
from tflq.modes import Dynamic, Dynamic4, Weights8
from tflq.pipeline import Settings
from tflq.recipe import load as load_recipe
from tflq.trials import Trial, open_trials

MODEL = "tiny_conv_dense"
VARIANTS = [
    *("float32", "dynamic", "weights8"),
    {"mode": "dynamic4", "name": "plain", "bias_correction": "off"},
    {"mode": "dynamic4", "name": "rounded", "rounding": "on", "bias_correction": "on"},
    {"mode": "dynamic4", "name": "auto"},
    {"mode": "dynamic4", "name": "kept", "bias_correction": "off", "keep_float": ["#3"]},
]


@pytest.fixture(scope="module")
def recipe(recipes: Recipes, data: Path) -> Path:
    everything = {"npz": str(data / "images.npz")}
    return recipes.write(MODEL, VARIANTS, calibration={"dataset": everything, "samples": 24})


@pytest.fixture(scope="module")
def ran(recipe: Path) -> Ran:
    return run_recipe(recipe)


def constants(graph: Graph, dtype: str) -> dict[str, Tensor]:
    (subgraph,) = graph.subgraphs
    return {tensor.name: tensor for tensor in subgraph.tensors if tensor.is_constant and tensor.dtype == dtype}


def test_every_file_fulfils_its_contract_and_is_smaller_than_weights8(ran: Ran) -> None:
    assert set(ran.codes.values()) == {0}
    assert all(not ran.variant(name).violations for name in ran.codes)
    sizes = {name: ran.graph(name).size_bytes for name in ran.codes}
    assert sizes["plain"] < 0.75 * sizes["weights8"]
    assert 15 < ran.sqnr_db("plain") < ran.sqnr_db("weights8")


def test_dense_weights_are_int4_in_blocks_and_others_int8(ran: Ran) -> None:
    graph, float32 = ran.graph("plain"), ran.graph("float32")
    int4, int8 = constants(graph, "int4"), constants(graph, "int8")
    assert sorted(tensor.shape for tensor in int4.values()) == [(40, 64), (64, 512)]
    assert [tensor.shape for tensor in int8.values()] == [(32, 40)]
    originals = constants(float32, "float32")
    for name, tensor in int4.items():
        assert tensor.quantization is not None
        assert tensor.quantization.blocks is not None
        assert tensor.quantization.blocks.scales.shape == (tensor.shape[0], tensor.shape[1] // 32)
        exact = np.asarray(originals[name].data, np.float64)
        assert 10 * np.log10(np.square(exact).sum() / np.square(real_values(tensor) - exact).sum()) > 18
    assert not graph.outside_buffers


def test_outputs_are_those_of_the_float32_file_with_rounded_weights(ran: Ran, tmp_path: Path, data: Path) -> None:
    model = edit.unpack(ran.file("float32").read_bytes())
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    for name, tensor in {**constants(ran.graph("plain"), "int4"), **constants(ran.graph("plain"), "int8")}.items():
        place = names.index(name.removesuffix("_int8"))
        stored = real_values(tensor).astype("<f4").reshape(-1).view(np.uint8)
        model.buffers[model.subgraphs[0].tensors[place].buffer].data = stored
    edit.write(model, tmp_path / "rounded.tflite")
    images = np.load(data / "images.npz")["image"][:1].astype(np.float32) / 255
    ours, theirs = (Runner(p)({"image": images})["scores"] for p in (ran.file("plain"), tmp_path / "rounded.tflite"))
    assert 10 * np.log10(np.square(theirs).sum() / np.square(ours - theirs).sum()) > 30  # activations have 8 bits


def test_gptq_and_bias_correction_come_nearer(ran: Ran) -> None:
    assert ran.sqnr_db("rounded") > ran.sqnr_db("plain") + 1
    assert ran.sqnr_db("auto") > ran.sqnr_db("plain")
    refinement = ran.variant("auto").refinement
    assert refinement is not None
    assert [score.config.in_words for score in refinement.scores] == [
        "as it is",
        "bias correction",
        "rounding",
        "bias correction + rounding",
    ]


def test_a_trial_makes_what_convert_makes(recipe: Path, ran: Ran) -> None:
    trials = [Trial(variant, "minmax") for variant in (Dynamic(), Weights8(), Dynamic4())]
    with open_trials(load_recipe(recipe), Settings(jobs=2)) as runner:
        figures = [result.figures for result in runner.run(trials)]
    files = [ran.variant(name).file for name in ("dynamic", "weights8", "auto")]
    assert [each and each.file.sha256 for each in figures] == [each and each.sha256 for each in files]


def test_a_kept_op_has_float_weights(ran: Ran) -> None:
    assert len(constants(ran.graph("kept"), "int4")) == 1
    listed = ran.variant("kept").file
    assert listed is not None
    assert "named by keep_float" in {op.reason for op in listed.float_ops}


def test_the_card_says_which_runtime_the_file_needs(ran: Ran) -> None:
    needs = {variant["name"]: variant["needs"] for variant in ran.report["variants"]}
    assert needs["weights8"] == []
    assert needs["plain"] == [WITH_BLOCKS]
    assert f"- **plain** needs {WITH_BLOCKS}." in ran.page
    assert ran.graph("plain").minimum_runtime_version == "2.20.0"


def test_contract_refuses_a_file_without_int4_and_one_with_hybrid_int8_ops(ran: Ran) -> None:
    (violation,) = Dynamic4().violations(ran.graph("weights8"))
    assert violation.message == "has only 0% of its weights in int4, but should have 50%"
    assert [*Weights8().violations(ran.graph("dynamic"))]
    assert "hybrid" not in {violation.rule for violation in Dynamic4().violations(ran.graph("plain"))}


def test_a_model_with_few_dense_weights_is_refused_with_their_share(recipes: Recipes) -> None:
    ran = recipes.run("tiny_conv", ["dynamic4"])
    error = ran.variant("dynamic4").error
    assert error is not None
    assert str(error).startswith("mode dynamic4: 0% of the bytes of constants are weights of FULLY_CONNECTED ops whose")
    assert str(error).endswith("Use mode weights8 or dynamic")


def test_scales_that_do_not_fit_are_not_read_as_blocks(ran: Ran) -> None:
    model = edit.unpack(ran.file("plain").read_bytes())
    (subgraph,) = model.subgraphs
    for tensor in subgraph.tensors:
        if tensor.quantization is not None and tensor.quantization.details is not None:
            tensor.quantization.details.blockSize = 48
    graph = read(edit.pack(model))
    assert {tensor.quantization and tensor.quantization.blocks for tensor in constants(graph, "int4").values()} == {
        None
    }
    assert len([*Dynamic4().violations(graph)]) == 2


def test_tensors_with_scales_stay_when_unused_parts_are_removed(ran: Ran) -> None:
    model = edit.unpack(ran.file("plain").read_bytes())
    model.subgraphs[0].tensors.insert(0, model.subgraphs[0].tensors[-1])
    before = load(ran.file("plain"))
    model = edit.unpack(ran.file("plain").read_bytes())
    edit.add_tensor(model, "unused", [1])
    edit.drop_unused(model)
    after = read(edit.pack(model))
    for name, tensor in constants(before, "int4").items():
        np.testing.assert_array_equal(real_values(constants(after, "int4")[name]), real_values(tensor))


@pytest.mark.parametrize("magnitude", [1e-5, 1.0, 1e4])
def test_blocks_of_any_magnitude_keep_their_values(magnitude: float) -> None:
    values = (np.random.default_rng(0).normal(size=(8, 64)) * magnitude).astype(np.float32)
    values[0, :32] = 0
    steps, scales = quantize_blocks(values)
    assert (steps.min(), steps.max()) >= (-8, 7)
    restored = steps * np.repeat(scales.astype(np.float64), 32, axis=1)
    assert np.square(restored - values).sum() < 0.02 * np.square(values).sum()
    assert not restored[0, :32].any()
    assert packed_int4(steps).shape == (8 * 64 // 2,)
