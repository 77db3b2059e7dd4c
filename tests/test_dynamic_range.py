"""Files of mode dynamic whose biases make up for their rounded weights: where, when, and what is told of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from observing import gathered_from, nothing
from running import Ran, Recipes, keeping

from tflq import refine
from tflq.cache import Store, sha256
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import ConversionError
from tflq.flatbuffer import ROLES, Graph, Tensor, load
from tflq.refine.input_statistics import input_statistics
from tflq.refine.weighted_ops import layers

MODEL = "tiny_conv_layers"
VARIANTS = [
    "float32",
    "dynamic",
    *({"mode": "dynamic", "name": choice, "bias_correction": choice} for choice in ("on", "off")),
    {"mode": "dynamic", "name": "kept", "bias_correction": "on", "keep_float": ["CONV_2D"]},
    {"mode": "dynamic", "name": "coarse", "bias_correction": "on", "per_channel": False},
]


@pytest.fixture(scope="module")
def ran(recipes: Recipes, data: Path) -> Ran:
    everything = {"npz": str(data / "images.npz")}
    return recipes.run(MODEL, VARIANTS, calibration={"dataset": everything, "samples": 24})


@pytest.fixture(scope="module")
def bare(recipes: Recipes) -> Ran:
    """The same without any calibration."""
    return recipes.run(
        MODEL, ["dynamic", {"mode": "dynamic", "name": "off", "bias_correction": "off"}], calibration=None
    )


@pytest.fixture(scope="module")
def calibration_samples(ran: Ran, data: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSamples:
    return gathered_from(ran.file("float32"), data / "images.npz", tmp_path_factory.mktemp("samples"))


def sqnr(ran: Ran, name: str) -> float:
    measured = ran.variant(name).measured
    assert measured is not None
    return measured.fidelity["scores"].sqnr_db or 200.0


def constants(graph: Graph, role: str) -> list[np.ndarray]:
    """Weights or biases of all layers."""
    (subgraph,) = graph.subgraphs
    some = [op for op in subgraph.operators if op.type in ROLES]
    found = [subgraph.input(op, getattr(ROLES[op.type], role)) for op in some]
    return [np.asarray(one.data) for one in found if one is not None and one.is_constant]


def test_biases_alone_change_and_the_file_is_nearer_to_the_float_model(ran: Ran) -> None:
    assert set(ran.codes.values()) == {0}
    assert sqnr(ran, "on") > sqnr(ran, "off") + 1
    on, off = ran.graph("on"), ran.graph("off")
    assert [op.type for op in on.subgraphs[0].operators] == [op.type for op in off.subgraphs[0].operators]
    for one, other in zip(constants(on, "weights"), constants(off, "weights"), strict=True):
        np.testing.assert_array_equal(one, other)
    moved = [not np.array_equal(*pair) for pair in zip(constants(on, "bias"), constants(off, "bias"), strict=True)]
    assert any(moved)
    assert on.size_bytes <= off.size_bytes * 1.005 + 600


def test_without_calibration_nothing_is_asked_for_and_nothing_changes(ran: Ran, bare: Ran) -> None:
    assert bare.codes == {"dynamic": 0, "off": 0}
    assert len({sha256(bare.file("dynamic")), sha256(bare.file("off")), sha256(ran.file("off"))}) == 1
    assert bare.variant("dynamic").refinement is None
    assert not any("calibration" in stage or "biases" in stage for stage in bare.stages)
    assert not any("bias" in warning for warning in bare.result.warnings)


def test_report_tells_what_was_tried_and_kept(ran: Ran) -> None:
    told = {variant["name"]: variant["refinement"] for variant in ran.report["variants"]}
    assert told["off"] is None
    assert [one["tried"] for one in told["dynamic"]["attempts"]] == ["as it is", "bias correction"]
    assert told["dynamic"]["held_back_calls"] == 6
    assert told["dynamic"]["bias_correction"] == (sha256(ran.file("dynamic")) == sha256(ran.file("on")))
    assert (told["on"]["bias_correction"], told["on"]["attempts"]) == (True, [])
    assert {layer["op"] for layer in told["on"]["layers"]} >= {"CONV_2D", "FULLY_CONNECTED"}
    assert ran.report["calibration"]["samples"] == 24
    assert "## Before quantizing" in ran.page
    assert not any("no variant uses it" in warning for warning in ran.result.warnings)


@pytest.mark.parametrize("name", ["on", "kept", "coarse"])
def test_biases_that_the_report_lists_are_those_that_changed(ran: Ran, name: str) -> None:
    """Ops in float are as they were."""
    report = ran.report["variants"][[one["name"] for one in ran.report["variants"]].index(name)]["refinement"]
    types = {layer["op"] for layer in report["layers"]}
    assert ("CONV_2D" in types) == (name != "kept")
    source, made = load(ran.file("float32")).subgraphs[0], ran.graph(name).subgraphs[0]
    pairs = zip(
        (op for op in source.operators if op.type in ROLES),
        (op for op in made.operators if op.type in ROLES),
        strict=True,
    )
    corrected = {layer["index"] for layer in report["layers"]}
    for before, after in pairs:
        biases = [graph.input(op, ROLES[op.type].bias) for graph, op in ((source, before), (made, after))]
        if all(biases):
            is_same = np.array_equal(*(np.asarray(bias.data) for bias in biases if bias))
            assert is_same == (after.index not in corrected)


def rounded(tensor: Tensor) -> np.ndarray:
    held = tensor.quantization
    assert held is not None
    shape = [-1 if axis == held.dimension else 1 for axis in range(len(tensor.shape))]
    return np.asarray(tensor.data, np.float64) * np.array(held.scales).reshape(shape)


def test_shift_is_the_lost_part_of_the_weights_times_the_mean_of_what_they_meet(
    ran: Ran, calibration_samples: CalibrationSamples, tmp_path: Path
) -> None:
    float32, path = ran.file("float32"), tmp_path / "hybrid.tflite"
    path.write_bytes(ran.file("off").read_bytes())
    told = refine.correct_file(
        nothing,
        float32,
        path,
        refine.CorrectionData(calibration_samples.samples, range(15), range(15, 20)),
        refine.CorrectionChoices("on"),
    )
    assert (told.config.in_words, told.scores, told.calls) == ("bias correction", (), 0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hybrid.tflite"]
    content = float32.read_bytes()
    (corrected,) = (one for one in told.corrections if one.op == "FULLY_CONNECTED")
    layer = next(one for one in layers(content) if one.bias and one.operator.type == corrected.op)
    (seen,) = input_statistics(content, [layer], (calibration_samples.samples, range(15)), tmp_path / "seen")
    (made,) = load(path).subgraphs
    operator = made.operators[corrected.operator]
    weights, bias = made.input(operator, 1), made.input(operator, 2)
    assert weights is not None
    assert bias is not None
    assert layer.bias is not None
    lost = np.asarray(layer.weights.data, np.float64) - rounded(weights)
    np.testing.assert_allclose(
        np.asarray(bias.data) - np.asarray(layer.bias.data), lost @ seen.mean[0], atol=1e-6, rtol=1e-4
    )


def test_too_few_samples_decide_nothing(ran: Ran, calibration_samples: CalibrationSamples, tmp_path: Path) -> None:
    path = tmp_path / "hybrid.tflite"
    path.write_bytes(ran.file("off").read_bytes())
    told = refine.correct_file(
        nothing,
        ran.file("float32"),
        path,
        refine.CorrectionData(calibration_samples.samples, range(3), ()),
        refine.CorrectionChoices("auto"),
    )
    assert (told.config.in_words, told.scores, told.corrections) == ("as it is", (), ())
    assert sha256(path) == sha256(ran.file("off"))
    assert [file.name for file in tmp_path.iterdir()] == ["hybrid.tflite"]


def test_files_of_other_ops_are_refused(ran: Ran, calibration_samples: CalibrationSamples, recipes: Recipes) -> None:
    other = recipes.run("tiny_conv", ["dynamic"], calibration=None).file("dynamic")
    with pytest.raises(ConversionError, match=r"^bias_correction: the dynamic range file has other ops"):
        refine.correct_file(
            nothing,
            ran.file("float32"),
            other,
            refine.CorrectionData(calibration_samples.samples, range(4), ()),
            refine.CorrectionChoices("on"),
        )


def dies(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_cannot_be_tried_is_told_and_left_out_unless_demanded(
    recipes: Recipes, monkeypatch: pytest.MonkeyPatch, bare: Ran
) -> None:
    monkeypatch.setattr(refine, "correct_file", dies)
    ran = recipes.run(MODEL, VARIANTS[1:3])
    assert ran.codes == {"dynamic": 0, "on": 5}
    assert sha256(ran.file("dynamic")) == sha256(bare.file("dynamic"))
    assert not ran.file("on").exists()
    (said,) = (one for one in ran.result.warnings if one.startswith("dynamic: quantized without bias correction"))
    assert "correct the layers of dynamic: the worker process was killed (SIGKILL)" in said
    assert "correct the layers of on: the worker process was killed (SIGKILL)" in str(ran.variant("on").error)


def test_samples_that_cannot_be_read_leave_dynamic_as_it_is(recipes: Recipes, tmp_path: Path, bare: Ran) -> None:
    ran = recipes.run(MODEL, VARIANTS[1:3], calibration={"dataset": {"npz": str(tmp_path / "none.npz")}})
    assert ran.codes == {"dynamic": 0, "on": 4}
    assert sha256(ran.file("dynamic")) == sha256(bare.file("dynamic"))
    assert any("none.npz" in warning for warning in ran.result.warnings)


def test_nothing_to_correct_is_no_fault(recipes: Recipes) -> None:
    """A model whose weights are too few, or that has no bias."""
    ran = recipes.run("tiny_dense", ["dynamic"])
    assert ran.codes == {"dynamic": 0}
    assert not any("bias correction" in warning for warning in ran.result.warnings)


def test_a_second_run_finds_the_same(recipes: Recipes, tmp_path: Path) -> None:
    file, store = recipes.write(MODEL, ["dynamic"]), Store(tmp_path / "store", 10**9)
    first, second = keeping(file, store), keeping(file, store)
    assert "correct the layers of dynamic" in first.stages
    assert "correct the layers of dynamic" not in second.stages
    refinement = first.variant("dynamic").refinement
    assert refinement is not None
    assert refinement == second.variant("dynamic").refinement
    assert first.variant("dynamic").file == second.variant("dynamic").file
