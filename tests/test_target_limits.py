"""When a search calls the compiler of a target, and what it keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tflite_edit as edit

from tflq import cache
from tflq.errors import EvaluationError
from tflq.targets.shipped import load
from tflq.targets.tools import vela_command
from tflq.trials.target_limits import TargetLimits, may_compile_later, target_figures

U55, MICRO = load("ethos-u55-128"), load("micro")
BOTH = TargetLimits((U55, MICRO), frozenset({U55.name}), max_ram_kb=1000, max_estimated_ms=1)
IN_FLOAT = edit.DATA / "cnn_int8.tflite"
needs_vela = pytest.mark.skipif(vela_command() is None, reason="the compiler ethos-u-vela is not installed")


@pytest.fixture
def integers(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(edit.integer_only())
    return path


@needs_vela
def test_a_file_that_the_table_has_is_compiled_after_its_measurement(integers: Path) -> None:
    assert may_compile_later(integers, BOTH)
    assert not may_compile_later(IN_FLOAT, BOTH)  # it falls back by the table
    assert not may_compile_later(integers, TargetLimits((MICRO,), frozenset({"micro"})))


@needs_vela
def test_limits_that_need_no_compiler_come_first(integers: Path) -> None:
    early = BOTH.before_measuring
    assert (early.targets, early.max_ram_kb, early.max_estimated_ms) == ((MICRO,), 1000, None)
    assert TargetLimits((U55,), max_ram_kb=1000).before_measuring == TargetLimits()
    assert target_figures(integers, early, integers.parent / "kept").ram_bytes
    assert not (integers.parent / "kept").exists()


@needs_vela
def test_a_file_is_compiled_once(integers: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept" / f"{cache.sha256(integers)}.json"
    first = target_figures(integers, BOTH, kept.parent)
    assert first.estimated_ms is not None
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps(content | {"estimated_ms": 0.25}))
    assert target_figures(integers, BOTH, kept.parent).estimated_ms == 0.25
    kept.write_text(json.dumps(content | {"refusal": "it falls back"}))
    with pytest.raises(EvaluationError, match="it falls back"):
        target_figures(integers, BOTH, kept.parent)
