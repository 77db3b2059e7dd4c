"""The fidelity of activations along the graph, and what report.html shows of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import Ran, Recipes

from tflq.html_report.layers import layer_chart
from tflq.html_report.weights import weight_charts
from tflq.interpreter import Runner
from tflq.result import LayerFigures, Result, WeightRange
from tflq.stages import layers
from tflq.stages.layers import ComparedLayers, TimedCalls, layer_figures


@pytest.mark.parametrize("mode", ["dynamic", "float16", "int8", "int8_only", "int16x8", "int16x8_only"])
def test_every_mode_is_compared_along_the_graph(all_modes: Ran, mode: str) -> None:
    figures = all_modes.variant(mode).layers
    assert (figures.calls, figures.obstacle) == (layers.STANDARD_CALLS, "")
    assert figures.layers[0].op == "input"
    assert len(figures.layers) > 3
    assert all(layer.sqnr_db > 20 for layer in figures.layers)


def test_the_float32_file_is_not_compared_with_itself(all_modes: Ran) -> None:
    assert all_modes.variant("float32").layers is None


def test_an_equalized_file_is_compared_with_the_equalized_model(recipes: Recipes) -> None:
    """Equalization changes the scale of channels, so that activations differ from those of the baseline."""
    int8 = {"mode": "int8", "equalization": "on", "bias_correction": "off"}
    ran = recipes.run("tiny_conv_layers", [int8], latency="off")
    assert ran.variant("int8").refinement.config.value("equalization")
    assert min(layer.sqnr_db for layer in ran.variant("int8").layers.layers) > 20


def request_of(ran: Ran, folder: Path) -> ComparedLayers:
    """A request for int8 without calibration samples."""
    float32, int8 = (ran.output / ran.variant(mode).file.name for mode in ("float32", "int8"))
    (port,) = ran.variant("float32").file.inputs
    first = {port.name: np.random.default_rng(0).normal(size=port.shape).astype(np.float32)}
    Runner(float32)(first)
    return ComparedLayers(float32, int8, None, first, 4, folder, is_full=False)


def silent(done: int, total: int) -> None:
    """Ignore progress."""


def test_large_and_slow_models_are_left_out_unless_the_report_is_full(
    all_modes: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(all_modes, tmp_path)
    assert layer_figures(silent, request).layers
    assert layer_figures(silent, replace(request, calls=0)).obstacle == "its int16 kernels are slow"
    monkeypatch.setattr(layers, "MAX_BYTES", 100)
    assert "the activations of a call have" in layer_figures(silent, request).obstacle
    assert layer_figures(silent, replace(request, is_full=True)).layers


def test_no_further_call_begins_when_the_time_is_over() -> None:
    arrays = [{"x": np.full(2, number)} for number in range(4)]
    in_time, late = TimedCalls(arrays, math.inf), TimedCalls(arrays, -math.inf)
    assert list(in_time) == arrays
    assert list(late) == arrays[:1]
    assert (in_time.made, late.made, len(late)) == (4, 1, 4)


def test_the_weights_of_the_layer_that_loses_most_are_first(all_modes: Ran, tmp_path: Path) -> None:
    found = layer_figures(silent, request_of(all_modes, tmp_path)).weights
    assert 1 <= len(found) <= layers.MAX_WEIGHTS
    assert [each.lost_db for each in found] == sorted((each.lost_db for each in found), reverse=True)
    assert all(len(each.peaks) > 1 and min(each.peaks) >= 0 for each in found)


def test_the_page_marks_the_first_fall_and_says_what_was_left_out(all_modes: Ran) -> None:
    result: Result = all_modes.result
    int8 = all_modes.variant("int8")
    fallen = replace(int8, name="fallen", layers=replace(int8.layers, first_fall=2, before_db=50.0))
    left_out = replace(int8, name="left_out", layers=LayerFigures(0, obstacle="its int16 kernels are slow"))
    figure, falls, hint = layer_chart(replace(result, variants=(fallen, left_out)))
    text = "".join(falls.itertext())
    assert text.startswith("fallen first falls from 50.0 to ")
    assert int8.layers.layers[2].tensor in text
    assert "".join(hint.itertext()).startswith(
        "The activations of left_out were not compared: its int16 kernels are slow."
    )
    assert len(figure.findall(".//table")) == 1


def test_weights_of_many_channels_have_bounded_charts(all_modes: Ran) -> None:
    int8 = all_modes.variant("int8")
    many = LayerFigures(1, weights=(WeightRange("CONV_2D", "w", 9.0, tuple(float(i) for i in range(1000))),))
    _, _, charts = weight_charts(replace(all_modes.result, variants=(replace(int8, layers=many),)))
    assert 100 < len(charts.findall(".//rect")) <= 128
    assert len(charts.findall(".//tbody/tr")) == 40
