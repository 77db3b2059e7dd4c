"""Attention masks: which constants are masks, what they are lowered to, and what it does to quantized files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import made_once, run_script
from observing import gathered_from, nothing
from running import Ran, keeping, run_recipe

from tflq.cache import Store
from tflq.calibrate.attention_masks import find_masks
from tflq.calibrate.lower_masks import MaskReport, lower_masks
from tflq.calibrate.samples import CalibrationSamples
from tflq.flatbuffer import load
from tflq.interpreter import Runner
from tflq.worker import preload_tensorflow


@pytest.fixture(scope="session")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of models_attention.py: models, and their data."""
    preload_tensorflow()
    return made_once(tmp_path_factory, "attention", partial(run_script, "models_attention.py"))


@pytest.fixture(scope="module")
def samples(attention: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSamples:
    return gathered_from(attention / "added.tflite", attention / "steps.npz", tmp_path_factory.mktemp("samples"))


def lowered(attention: Path, name: str, samples: CalibrationSamples, target: Path) -> MaskReport | None:
    return lower_masks(nothing, attention / f"{name}.tflite", samples.samples, target)


def constants(file: Path) -> list[float]:
    """The largest magnitude of each float constant."""
    (subgraph, *_) = load(file).subgraphs
    return [float(np.max(np.abs(t.data))) for t in subgraph.tensors if t.data is not None and t.is_float]


@pytest.mark.parametrize(
    "name",
    [
        *("added", "multiplied", "subtracted", "reversed", "selected", "lowest", "half", "scaled", "reshaped", "twice"),
        "whole_selected",
    ],
)
def test_a_mask_before_a_softmax_is_lowered_and_the_outputs_stay(
    attention: Path, samples: CalibrationSamples, tmp_path: Path, name: str
) -> None:
    report = lowered(attention, name, samples, tmp_path / "copy.tflite")
    assert report is not None
    assert not report.obstacle
    assert len(report.lowered) == (2 if name == "twice" else 1)
    assert all(abs(mask.before) > 60_000 and 30 < abs(mask.after) < 300 for mask in report.lowered)
    assert max(constants(attention / f"{name}.tflite")) > 60_000
    assert max(constants(tmp_path / "copy.tflite")) < 300
    runs = Runner(attention / f"{name}.tflite"), Runner(tmp_path / "copy.tflite")
    for arrays in samples.samples.calls(range(samples.samples.number_of_calls)):
        (expected,), (answer,) = (run(arrays).values() for run in runs)
        np.testing.assert_allclose(answer, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["also_output", "also_read", "log_softmax", "raised"])
def test_a_constant_that_another_op_reads_is_no_mask(attention: Path, name: str) -> None:
    assert find_masks(load(attention / f"{name}.tflite")) == ()


@pytest.mark.parametrize("name", ["small", "fractions"])
def test_a_small_mask_and_a_mask_times_fractions_are_left_alone(
    attention: Path, samples: CalibrationSamples, tmp_path: Path, name: str
) -> None:
    assert lowered(attention, name, samples, tmp_path / "copy.tflite") is None
    assert not (tmp_path / "copy.tflite").exists()


def test_the_gain_behind_a_mask_makes_it_larger(attention: Path, samples: CalibrationSamples, tmp_path: Path) -> None:
    plain = lowered(attention, "added", samples, tmp_path / "plain.tflite")
    scaled = lowered(attention, "scaled", samples, tmp_path / "scaled.tflite")
    assert plain is not None
    assert scaled is not None
    assert scaled.lowered[0].after < 1.5 * plain.lowered[0].after


def test_each_head_gets_what_its_logits_need(attention: Path, samples: CalibrationSamples, tmp_path: Path) -> None:
    report = lowered(attention, "two_heads", samples, tmp_path / "copy.tflite")
    assert report is not None
    first, second = sorted(-mask.after for mask in report.lowered)
    assert second > 2 * first
    assert max(constants(tmp_path / "copy.tflite")) == second


def test_a_reader_that_is_no_softmax_keeps_the_constant(
    attention: Path, samples: CalibrationSamples, tmp_path: Path
) -> None:
    report = lowered(attention, "one_of_two", samples, tmp_path / "copy.tflite")
    assert report is not None
    assert len(report.lowered) == 1
    assert {1e9, -report.lowered[0].after} <= {*constants(tmp_path / "copy.tflite")}


def test_nothing_is_lowered_if_the_outputs_would_differ(
    attention: Path, samples: CalibrationSamples, tmp_path: Path
) -> None:
    report = lowered(attention, "whole_rows", samples, tmp_path / "copy.tflite")
    assert report is not None
    assert report.obstacle == (
        "with lower ones the output 'y' differs on calibration samples, as it does if all values of a row are masked."
        " If so, let the model select the mask in place of the logits, as tf.where does, instead of adding it"
    )
    assert report.in_words.startswith("attention masks were not lowered ('")
    assert not (tmp_path / "copy.tflite").exists()


def quantized(attention: Path, folder: Path, model: str, variants: list[str]) -> Ran:
    return run_recipe(recipe(attention, model, variants), folder)


def recipe(attention: Path, model: str, variants: list[str]) -> dict[str, object]:
    rows = {"npz": str(attention / ("steps.npz" if model == "causal" else "counted.npz"))}
    return {
        "model": str(attention / f"{model}.keras"),
        "calibration": {"dataset": rows, "samples": 20, "seed": 1},
        "evaluation": {"dataset": rows, "samples": 16, "seed": 2},
        "variants": variants,
        "latency": "off",
    }


def worst_sqnr(ran: Ran, name: str) -> float:
    variant = ran.variant(name)
    assert variant.measured is not None, variant.why
    return min(output.sqnr_db or 0.0 for output in variant.measured.fidelity.values())


@pytest.mark.slow
def test_integers_of_a_causal_transformer_are_near_the_float32_model(attention: Path, tmp_path: Path) -> None:
    ran = quantized(attention, tmp_path, "causal", ["float32", "int8", "int16x8"])
    assert worst_sqnr(ran, "int8") > 20
    assert worst_sqnr(ran, "int16x8") > 35
    assert max(constants(ran.file("float32"))) > 1e38
    (note,) = (warning for warning in ran.result.warnings if "attention mask" in warning)
    assert "lowered in the variants with calibrated ranges" in note
    assert note in ran.page
    (mask,) = {mask["before"] for mask in ran.report["ranges"]["masks"]["lowered"]}
    assert mask < -1e38
    assert ran.report["ranges"]["masks"]["calls"] == 20
    assert ran.report["ranges"]["masks"]["obstacle"] == ""


@pytest.mark.parametrize("model", ["padding", pytest.param("padding_added", marks=pytest.mark.slow)])
def test_int8_with_a_mask_computed_from_integers_is_near_the_float32_model(
    attention: Path, tmp_path: Path, model: str
) -> None:
    assert worst_sqnr(quantized(attention, tmp_path, model, ["int8"]), "int8") > 20


@pytest.mark.slow
def test_a_second_run_takes_the_copy_from_the_cache(attention: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", 1 << 30)
    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe(attention, "padding_added", ["int8"])))
        runs.append(keeping(file, store))
    first, second = runs
    assert first.file("int8").read_bytes() == second.file("int8").read_bytes()
    assert "lower the attention masks" in first.stages
    assert not {"lower the attention masks", "observe the activations, part 1"} & {*second.stages}
    assert not any(stage.startswith("round the weights") for stage in second.stages)
    assert first.report["ranges"] == second.report["ranges"]
