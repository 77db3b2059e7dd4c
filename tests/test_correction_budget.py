"""What takes out of proportion to calibration is not compared, and the report says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from observing import fixtures_for
from running import Recipes

from tflq import refine
from tflq.cost_model import multiply_adds
from tflq.flatbuffer import load
from tflq.modes import Int8, Int16x8, Mode
from tflq.refine import RefinementRequest, budget

float32, _ = fixtures_for("tiny_conv_layers")
SENTENCE = (
    "For a model of this size with so few samples, equalization takes too long, so it was not tried."
    " `equalization: on` applies it."
)


@pytest.mark.parametrize(("least", "calls", "left_out"), [(0, 1, True), (0, 10_000, False), (1e12, 1, False)])
def test_equalization_is_beyond_a_budget_for_few_calls(
    float32: Path, least: float, calls: int, left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit of the layers takes as long for few calls as for many."""
    monkeypatch.setattr(budget, "LEAST_BUDGET", least)
    found = refine.beyond_budget(float32, calls, RefinementRequest.by(Int8()))
    assert found == (("equalization",) if left_out else ())


@pytest.mark.parametrize("variant", [Int8(equalization="on"), Int8(equalization="off"), Int16x8()])
def test_what_is_not_open_is_never_beyond_the_budget(
    float32: Path, variant: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "LEAST_BUDGET", 0)
    assert refine.beyond_budget(float32, 1, RefinementRequest.by(variant)) == ()


@pytest.mark.parametrize(("work", "calls"), [(0, 24), (1e30, 256)], ids=["large model", "small model"])
def test_small_models_are_fitted_to_more_calls(
    float32: Path, work: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "FITTING_BUDGET", work)
    assert refine.max_fitting_calls(float32) == calls


def test_calls_take_the_budget(float32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "FITTING_BUDGET", 100 * multiply_adds(load(float32)))
    assert refine.max_fitting_calls(float32) == 100


def test_report_tells_what_was_not_tried(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "LEAST_BUDGET", 0)
    monkeypatch.setattr(budget, "SHARE", 0)
    ran = recipes.run("tiny_conv_layers", ["int8", {"mode": "int8_only", "equalization": "on"}])
    left, demanded = (variant["refinement"] for variant in ran.report["variants"])
    assert left["beyond_budget"] == ["equalization"]
    assert not any("equalization" in attempt["tried"] for attempt in left["attempts"])
    assert demanded["beyond_budget"] == []
    assert demanded["equalization"]
    assert SENTENCE in ran.page
