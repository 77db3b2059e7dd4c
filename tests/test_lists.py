"""Modes, kinds of dataset and metrics are each in one list; a new entry of a list is known everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tflq import advise, scores
from tflq.datasets import DATASETS, KINDS
from tflq.metrics.metric_list import METRIC_KEYS, METRIC_NAMES, METRICS, built_in
from tflq.modes import CALIBRATED, GUIDE, MODE_NAMES, MODES, QAT_MODES, REFINEMENTS, Converter, Mode, named
from tflq.modes.ignored import GRANULARITY, is_neutral
from tflq.recipe import json_schema
from tflq.refine import CORRECTIONS, LAYERWISE_CORRECTIONS, MODEL_CORRECTIONS, SWITCHES, RefinementConfig
from tflq.search import options
from tflq.search.space import KEYS as SEARCHED_KEYS
from tflq.search.space import TOGGLES

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads(json_schema())
PAGE = (ROOT / "docs/recipe.md").read_text(encoding="utf-8")
METRICS_PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
REPORT = (ROOT / "docs/report.md").read_text(encoding="utf-8")
DEFINITIONS = SCHEMA["$defs"]


@pytest.mark.parametrize("mode", MODE_NAMES)
def test_a_mode_is_in_the_schema_and_on_the_page(mode: str) -> None:
    kind = MODES[MODE_NAMES.index(mode)]
    assert DEFINITIONS[kind.__name__]["properties"]["mode"]["const"] == mode
    assert {"$ref": f"#/$defs/{kind.__name__}"} in SCHEMA["properties"]["variants"]["items"]["anyOf"]
    assert mode in SCHEMA["properties"]["mode"]["anyOf"][0]["enum"]
    assert f"| `{mode}` |" in PAGE
    assert isinstance(TypeAdapter(Mode).validate_python(mode), kind)
    assert isinstance(named(mode), kind)


def test_every_mode_has_a_row_in_the_guide() -> None:
    assert tuple(each.mode for each in GUIDE) == MODE_NAMES


def test_other_tables_name_modes_of_the_list() -> None:
    hardware = {mode for modes in advise.SMALLER.values() for mode in modes}
    peers = {*scores.PEERS, *(mode for modes in scores.PEERS.values() for mode in modes)}
    assert {*hardware, *peers, *options.SEARCHED, *CALIBRATED, *QAT_MODES} <= {*MODE_NAMES}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_dataset_is_in_the_schema_and_on_the_page(kind: str) -> None:
    cls = DATASETS[KINDS.index(kind)]
    assert kind in DEFINITIONS[cls.__name__]["required"]
    for section in ("Calibration", "Evaluation", "Training"):
        assert {"$ref": f"#/$defs/{cls.__name__}"} in DEFINITIONS[section]["properties"]["dataset"]["oneOf"]
    assert f"\n| `{kind}` | `{kind}` |" in PAGE


def test_a_metric_is_in_the_schema_and_on_the_page() -> None:
    assert len(set(METRIC_NAMES)) == len(METRICS)
    assert DEFINITIONS["Evaluation"]["properties"]["metric"]["anyOf"][0]["enum"] == [*METRIC_NAMES]
    for name in METRIC_NAMES:
        assert built_in(name).name == name
        assert f"`{name}`" in PAGE
        assert f"`{name}`" in METRICS_PAGE
    for key in METRIC_KEYS:
        assert f"| `metric.{key}` |" in PAGE
        assert f"| `{{{key}: " in METRICS_PAGE


def test_a_correction_is_known_to_modes_search_and_report() -> None:
    assert sorted(each.key for each in CORRECTIONS) == sorted(REFINEMENTS)
    assert [*RefinementConfig().options] == [*REFINEMENTS]
    assert {*REFINEMENTS, *GRANULARITY, "keep_float"} <= {*SEARCHED_KEYS} & {*Converter.model_fields}
    assert {*REFINEMENTS, *GRANULARITY} == {*TOGGLES}
    assert all(f"`{key}`" in REPORT for key in REFINEMENTS)
    assert all(is_neutral(key, Converter.model_fields[key].default) for key in REFINEMENTS)
    assert {*SWITCHES} == {each.key for each in (*MODEL_CORRECTIONS, *LAYERWISE_CORRECTIONS)}


def test_biases_are_corrected_after_weights() -> None:
    changes = [each.changes for each in LAYERWISE_CORRECTIONS]
    assert {"weights", "bias"} <= {constant for constants in changes for constant in constants}
    assert changes == sorted(changes, key=lambda constants: "weights" not in constants)
