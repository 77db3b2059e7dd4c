"""Whole runs from .tflite files: the same files as from the SavedModel, and what reports and commands say of them."""

from __future__ import annotations

from pathlib import Path

import models_tflite as exported
import pytest
from click.testing import CliRunner, Result
from running import Ran, Recipes, keeping

from tflq.cache import Store
from tflq.cli import main
from tflq.flatbuffer import load

MODES = ["float32", "dynamic", "float16", "int8", "int16x8_only"]
PLAIN = {"bias_correction": "off"}
"""Corrections are computed from the float32 file, too, but take most of the time."""


def tflq(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def from_saved_model(recipes: Recipes) -> Ran:
    return recipes.run("tiny_conv", MODES, converter=PLAIN)


@pytest.fixture(scope="module")
def from_tflite(recipes: Recipes, from_saved_model: Ran) -> Ran:
    return recipes.run("tiny_conv", MODES, converter=PLAIN, model=str(from_saved_model.file("float32")))


@pytest.mark.parametrize("mode", MODES)
def test_files_are_those_that_are_made_from_the_saved_model(from_saved_model: Ran, from_tflite: Ran, mode: str) -> None:
    assert from_tflite.file(mode).read_bytes() == from_saved_model.file(mode).read_bytes()
    assert from_tflite.variant(mode).measured == from_saved_model.variant(mode).measured


def test_source_is_not_compared_with_itself(from_tflite: Ran) -> None:
    baseline = from_tflite.result.baseline
    assert (baseline.source_metric, baseline.source_error, baseline.fidelity) == (None, None, {})
    assert (
        "the source is a .tflite file, which TensorFlow cannot run, so the two are not compared: the float32 file is"
        " the source itself" in from_tflite.result.warnings
    )
    assert "The source runs in TensorFlow." not in from_tflite.page
    assert not [stage for stage in from_tflite.stages if "the source" in stage and stage != "read the source"]


@pytest.fixture(scope="module")
def from_torch(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for a file of PyTorch: channels first, names by position; an output has weights of zeros, no bias."""
    source = exported.made(
        tmp_path_factory.mktemp("exported") / "net.tflite", exported.from_torch, exported.without_bias
    )
    inputs = {"args_0": {"column": "image", "layout": "nchw"}}
    return recipes.write("tiny_conv", ["float32", "int8", "int16x8"], converter=PLAIN, model=str(source), inputs=inputs)


@pytest.fixture(scope="module")
def torch_run(from_torch: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Ran]:
    store = Store(tmp_path_factory.mktemp("store"), 10**9)
    return keeping(from_torch, store), keeping(from_torch, store)


def test_file_of_pytorch_gets_int8_weights(torch_run: tuple[Ran, Ran]) -> None:
    ran, _ = torch_run
    assert ran.result.exit_code == 0, ran.page
    subgraph = load(ran.file("int8")).subgraphs[0]
    weights = [subgraph.input(operator, 1) for operator in subgraph.operators if operator.type == "CONV_2D"]
    assert {tensor.dtype for tensor in weights if tensor} == {"int8"}
    assert [port.name for port in ran.variant("int8").file.inputs] == ["args_0"]
    assert any("keep_stablehlo_constant was removed" in warning for warning in ran.result.warnings)


def test_second_run_takes_the_float_model_from_the_cache(torch_run: tuple[Ran, Ran]) -> None:
    first, second = torch_run
    assert "read the source" in first.stages
    assert "read the source" not in second.stages
    assert first.file("int8").read_bytes() == second.file("int8").read_bytes()
    assert first.result.warnings == second.result.warnings


def test_ops_of_the_file_are_listed(from_torch: Path) -> None:
    listed = tflq("ops", str(from_torch))
    assert listed.exit_code == 0, listed.output
    assert "DEPTHWISE_CONV_2D" in listed.output


def test_training_is_refused_with_the_reason(recipes: Recipes) -> None:
    source = exported.made(recipes.folder / "net.tflite")
    training = {"dataset": {"npz": str(recipes.data / "images.npz")}, "label": "label", "techniques": ["quantize"]}
    path = recipes.write("tiny_conv", ["qat_int8"], model=str(source), training=training)
    checked = tflq("check", str(path))
    assert checked.exit_code == 3
    assert (
        "net.tflite: training needs the layers of a Keras model, but a .tflite file has only ops, which have no"
        " gradients: give the .keras or .h5 file as model: {keras: ...}, or remove training" in checked.output
    )


def test_check_refuses_an_integer_file(recipes: Recipes) -> None:
    source = recipes.folder / "int8.tflite"
    source.write_bytes(exported.tflite_edit.raw("cnn_int8"))
    checked = tflq("check", str(recipes.write("tiny_conv", ["int8"], model=str(source))))
    assert checked.exit_code == 3
    assert "is a quantized file: it computes in uint8 already" in checked.output
