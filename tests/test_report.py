from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from results import BROKEN, ERROR, FAILED_GATE, FLOAT32, POOR, RESULT, measured
from rich.console import Console

from tflq.errors import SourceError, TflqError
from tflq.report.json_report import to_json
from tflq.report.page import to_markdown
from tflq.report.table import shortened, size, table
from tflq.report.terminal import renderables
from tflq.result import Result, Variant

GOLDEN = Path(__file__).parent / "golden"


def terminal(result: Result, width: int = 80) -> str:
    console = Console(width=width, no_color=True, record=True, file=io.StringIO())
    for renderable in renderables(result, width):
        console.print(renderable, crop=False)
    return console.export_text()


@pytest.mark.parametrize(
    ("name", "text"),
    [("report.json", to_json(RESULT)), ("report.md", to_markdown(RESULT)), ("terminal.txt", terminal(RESULT))],
    ids=["json", "markdown", "terminal"],
)
def test_reports_are_as_they_were(name: str, text: str) -> None:
    """REWRITE=1 writes them anew, to be looked at with git diff."""
    if os.environ.get("REWRITE"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_json_has_the_promised_keys() -> None:
    report = json.loads(to_json(RESULT))
    promised = (
        "schema_version tflq recipe recipe_sha256 environment source calibration evaluation baseline variants seconds"
        " peak_rss_bytes exit_code"
    )
    assert set(promised.split()) <= set(report)
    of_a_variant = (
        "name mode status why error file sha256 size_bytes size_ratio ops float_ops inputs outputs metric fidelity"
        " latency_ms gates violations seconds"
    )
    for variant in report["variants"]:
        assert set(of_a_variant.split()) <= set(variant)


def test_json_has_null_for_what_json_cannot_say() -> None:
    strange = replace(FLOAT32, size_ratio=math.inf, measured=measured(math.nan, None))
    report = json.loads(to_json(replace(RESULT, variants=(strange,))), parse_constant=pytest.fail)
    assert report["variants"][0]["size_ratio"] is None
    assert report["variants"][0]["metric"]["value"] is None


def test_json_of_an_error() -> None:
    assert json.loads(to_json(SourceError("no such model"))) == {
        "schema_version": 1,
        "error": "no such model",
        "exit_code": 3,
    }


def test_json_of_several_recipes_is_a_list() -> None:
    several: Sequence[Result | TflqError] = [RESULT, SourceError("no such model")]
    assert [report["exit_code"] for report in json.loads(to_json(several))] == [6, 3]


@pytest.mark.parametrize(
    ("variant", "status", "exit_code"),
    [(FLOAT32, "ok", 0), (POOR, "poor", 0), (FAILED_GATE, "failed", 1), (ERROR, "error", 5), (BROKEN, "broken", 6)],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_row_has_its_status(variant: object, status: str, exit_code: int) -> None:
    result = replace(RESULT, variants=(variant,))  # type: ignore[arg-type]
    assert (result.variants[0].status, result.exit_code) == (status, exit_code)
    assert table(result).rows[-1][-1] == status


def test_the_most_serious_row_decides() -> None:
    assert RESULT.exit_code == 6
    assert replace(RESULT, variants=()).exit_code == 0


def test_columns_that_nothing_fills_are_left_out() -> None:
    bare = replace(RESULT, variants=(ERROR,), metric=None, baseline=replace(RESULT.baseline, source_metric=None))
    assert table(bare).header == ("", "size", "ratio", "verdict")


def test_a_narrow_table_has_no_agreement_beside_a_metric() -> None:
    assert "agree" in table(RESULT).header
    assert "agree" not in table(RESULT, is_narrow=True).header
    assert "agree" in table(replace(RESULT, metric=None), is_narrow=True).header


def test_the_terminal_keeps_to_80_columns() -> None:
    assert max(map(len, terminal(RESULT).splitlines())) <= 80
    assert "…" not in terminal(RESULT)


@pytest.mark.parametrize("width", [80, 90])
def test_a_long_name_loses_its_middle_and_nothing_else_is_cut(width: int) -> None:
    first, *others = RESULT.variants
    name = "first_words_of_a_very_long_name_with_its_last_words"
    lines = terminal(replace(RESULT, variants=(replace(first, name=name), *others)), width).splitlines()
    (line,) = [line for line in lines if line.startswith("first")]
    assert line.split()[0].endswith("words")
    assert (line.count("…"), line.split()[-1], len(line)) == (1, "ok", width)
    assert [line.split()[-1] for line in lines[3:8]] == ["0.9800", "ok", "failed", "broken", "ok"]


def test_a_terminal_too_narrow_for_the_figures_wraps_the_table() -> None:
    lines = terminal(RESULT, 50).splitlines()
    assert any(line.startswith("int1…nly ") and line.split()[-1] == "error" for line in lines)
    assert any(line.split()[-3:] == ["21.4", "0.013", "broken"] for line in lines)


@pytest.mark.parametrize(("width", "text"), [(8, "abcdefgh"), (7, "abc…fgh"), (6, "abc…gh"), (2, "a…"), (1, "…")])
def test_shortened(width: int, text: str) -> None:
    assert shortened("abcdefgh", width) == text


def test_a_row_of_fewer_samples_says_so_within_80_columns() -> None:
    def row(variant: Variant, samples: int) -> Variant:
        assert variant.measured is not None
        return replace(variant, measured=replace(variant.measured, samples=samples, metric=None))

    variants = (row(FLOAT32, 2000), row(replace(FAILED_GATE, name="int16x8_only"), 400))
    evaluation = replace(RESULT.evaluation, samples=2000, of=2000)
    result = replace(RESULT, variants=variants, metric=None, evaluation=evaluation)
    assert table(RESULT).header.count("samples") == 0
    column = table(result).header.index("samples")
    assert [cells[column] for cells in table(result).rows] == ["500 of 2,000", "", "400 of 2,000"]
    assert "Measured on at most 2,000 of 2,000 samples" in to_markdown(result)
    assert max(map(len, terminal(result).splitlines())) <= 80
    assert "400 of 2,000" in terminal(result)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (34_328, "34.3 kB"), (1_565_448, "1.57 MB")]
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


def test_sizes_above_a_gigabyte_stay_in_megabytes() -> None:
    assert size(2_400_000_000) == "2,400.00 MB"
