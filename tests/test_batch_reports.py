"""What a batch says in the end: pages, JUnit, what got worse, what depends on what."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from results import FLOAT32, RESULT

from tflq.batch import baseline, depfile, junit
from tflq.batch.page import to_markdown
from tflq.batch.summary import BatchSummary, Model, Regression, VariantRow, failed, from_report, to_json
from tflq.batch.zoo import collect
from tflq.errors import DatasetError, RecipeError
from tflq.report.json_report import to_json as report
from tflq.result import Result

GOLDEN = Path(__file__).parent / "golden"


def model(folder: Path, name: str = "net", result: Result = RESULT, state: str = "made") -> Model:
    output = folder / name
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.json").write_text(report(result), encoding="utf-8")
    return replace(from_report(name, state, "never made by a batch", output), output=f"build/{name}")


@pytest.fixture
def summary(tmp_path: Path) -> BatchSummary:
    fine = replace(RESULT, variants=(FLOAT32,))
    models = (
        model(tmp_path),
        model(tmp_path, "fine", fine, "up to date"),
        failed("lost", DatasetError("data.npz: there is no such file\nnor | another"), Path("build/lost"), 1.5),
        Model("last", "not reached", "another model failed, and --fail-fast was given", 0),
    )
    return BatchSummary(models, 12.25, (Regression("net", "int8", "larger: 34.3 kB, was 30.0 kB (+14.4%)"),))


@pytest.mark.parametrize("name", ["summary.json", "summary.md", "junit.xml"])
def test_reports_are_as_they_were(name: str, summary: BatchSummary) -> None:
    """REWRITE=1 writes them anew, to be looked at with git diff."""
    write = {"summary.json": lambda s: to_json(s, "0.1.0"), "summary.md": to_markdown, "junit.xml": junit.to_xml}
    text = write[name](summary)
    if os.environ.get("REWRITE"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_most_serious_exit_code_counts(summary: BatchSummary) -> None:
    assert summary.exit_code == 6
    assert BatchSummary(summary.models[1:2], 1.0).exit_code == 0
    assert BatchSummary(summary.models[1:2], 1.0, summary.regressions).exit_code == 1
    assert BatchSummary(summary.models, 1.0, was_interrupted=True).exit_code == 130


def test_stages_of_earlier_runs_are_not_among_the_slowest(summary: BatchSummary) -> None:
    assert summary.slowest == [("net", "convert int8", 1.25), ("net", "read the source", 0.75)]


def test_junit_counts_what_it_holds(summary: BatchSummary) -> None:
    root = ElementTree.fromstring(junit.to_xml(summary))
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "10",
        "failures": "3",
        "errors": "2",
        "skipped": "1",
    }
    cases = {case.get("name"): case for case in root.iter("testcase") if case.get("classname") == "net"}
    assert cases["int8"].find("failure") is None
    assert (
        cases["int8 max_metric_drop"].find("failure").get("message") == "max_metric_drop is 0.04, but the limit is 0.02"
    )
    assert cases["int8 against baseline"].find("failure").get("message").startswith("larger")


def test_what_is_poor_is_no_failure() -> None:
    poor = VariantRow("int8", "int8", "poor", 0, "output 'y' is far from the float32 file's output")
    text = to_markdown(BatchSummary((Model("net", "made", "", 0, rows=(poor,)),), 1.0))
    assert "## Failures" not in text
    said = "These files passed their gates. The report of the model has the likely cause."
    assert f"## Poor outputs\n\n{said}\n\n- **net int8**: {poor.why}" in text


def test_junit_passes_what_is_poor_and_says_so() -> None:
    poor = VariantRow("int8", "int8", "poor", 0, "output 'y' is far from the float32 file's output")
    root = ElementTree.fromstring(junit.to_xml(BatchSummary((Model("net", "made", "", 0, rows=(poor,)),), 1.0)))
    (case,) = root.iter("testcase")
    assert [(child.tag, child.text) for child in case] == [("system-out", f"poor: {poor.why}")]
    assert (root.get("failures"), root.get("errors")) == ("0", "0")


def test_junit_is_xml_whatever_was_said(tmp_path: Path) -> None:
    said = failed("net", DatasetError("a\x00b\x1b[31m <&> \ud800 é"))
    root = ElementTree.fromstring(junit.to_xml(BatchSummary((said,), 1.0)))
    assert (
        root.find(".//error").text
        == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m <&> \N{REPLACEMENT CHARACTER} é"
    )


ROW = VariantRow(
    name="int8",
    mode="int8",
    status="ok",
    exit_code=0,
    why="",
    size_bytes=1000,
    metric="top1",
    value=0.9,
    sqnr_db=30.0,
    is_measured=True,
    float_ops=1,
    ports=("int8", "int8"),
)


def of(row: VariantRow) -> BatchSummary:
    return BatchSummary((Model("net", "made", "", row.exit_code, rows=(row,)),), 1.0)


def compared(
    folder: Path, before: VariantRow, now: BatchSummary, *tolerances: tuple[str, float], is_whole: bool = True
) -> list[str]:
    old = folder / "old.json"
    old.write_text(to_json(of(before), "0.1.0"))
    return [str(found) for found in baseline.load(old, tolerances, is_whole).regressions(now)]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, None),
        ({"size_bytes": 1010}, None),
        ({"size_bytes": 1011}, "larger: 1.0 kB, was 1.0 kB (+1.1%)"),
        ({"size_bytes": 500, "value": 0.95, "sqnr_db": 40.0, "float_ops": 0}, None),
        ({"value": 0.896}, None),
        ({"value": 0.89}, "less accurate: top1 0.8900, was 0.9000 (-0.0100)"),
        ({"value": 0.91, "higher_is_better": False}, "less accurate: top1 0.9100, was 0.9000 (+0.0100)"),
        ({"value": 0.89, "higher_is_better": False}, None),
        ({"value": 0.5, "metric": "top5"}, None),
        ({"sqnr_db": 29.5}, None),
        ({"sqnr_db": 28.0}, "less accurate: SQNR 28.0 dB, was 30.0"),
        ({"sqnr_db": None}, None),
        ({"float_ops": 3}, "more ops in float: 3, was 1 (+2)"),
        ({"ports": ("float32", "int8")}, "more inputs and outputs in float: float32, int8, was int8, int8"),
        ({"size_bytes": None}, "can no longer be converted"),
    ],
)
def test_what_got_worse_is_told_with_by_how_much(tmp_path: Path, changes: dict[str, Any], what: str | None) -> None:
    assert compared(tmp_path, ROW, of(replace(ROW, **changes))) == ([f"net int8: {what}"] if what else [])


def test_nothing_worse_than_equal_to_the_float32_file(tmp_path: Path) -> None:
    equal = replace(ROW, sqnr_db=None)
    assert compared(tmp_path, equal, of(replace(ROW, sqnr_db=120.0))) == []
    assert compared(tmp_path, equal, of(ROW)) == [
        "net int8: less accurate: SQNR 30.0 dB, was equal to the float32 file"
    ]


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"size_bytes": 1200}, ("size", 0.2)),
        ({"value": 0.8}, ("metric", 0.11)),
        ({"sqnr_db": 20.0}, ("sqnr_db", 10.0)),
        ({"float_ops": 3}, ("float_ops", 2.0)),
    ],
)
def test_tolerances(tmp_path: Path, changes: dict[str, Any], tolerance: tuple[str, float]) -> None:
    now = of(replace(ROW, **changes))
    assert len(compared(tmp_path, ROW, now)) == 1
    assert compared(tmp_path, ROW, now, tolerance) == []


def test_a_variant_that_is_gone_is_missed_where_all_were_asked_for(tmp_path: Path) -> None:
    now = of(replace(ROW, name="other"))
    assert compared(tmp_path, ROW, now) == ["net int8: is missing"]
    assert compared(tmp_path, ROW, now, is_whole=False) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 1, "models": [{}]}'])
def test_a_baseline_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(RecipeError, match=r"old\.json: this file is not a summary\.json of tflq batch$"):
        baseline.load(tmp_path / "old.json", (), is_whole=True)


def test_a_baseline_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"schema_version": 2, "models": []}')
    with pytest.raises(RecipeError, match=r"another version of tflq wrote this summary"):
        baseline.load(tmp_path / "old.json", (), is_whole=True)


def test_a_tolerance_of_no_such_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--tolerance metrics: this key is unknown \(did you mean 'metric'\?\)"):
        baseline.load(tmp_path / "old.json", (("metrics", 1.0),), is_whole=True)


def test_a_dependency_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my net").mkdir()
    Path("my net/saved_model.pb").touch()
    Path("rows#1.npz").touch()
    Path("base.yaml").write_text("mode: int8\n")
    Path("net.yaml").write_text("extends: base.yaml\nmodel: my net\ncalibration: {dataset: {npz: 'rows#1.npz'}}\n")
    Path("bad.yaml").write_text("model: 5\n")
    text = depfile.to_make(collect([Path("net.yaml"), Path("bad.yaml")]))
    rule, *rest = text.strip().split("\n\n")
    files = ["base.yaml", "my\\ net/saved_model.pb", "net.yaml", "rows\\#1.npz"]
    assert rule == f"build/net/report.json: {' '.join(files)}"
    assert rest == [f"{file}:" for file in files]


def test_make_reads_the_dependency_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("$net: 100% #1").mkdir()
    Path("$net: 100% #1/saved_model.pb").touch()
    Path("net.yaml").write_text("model: '$net: 100% #1'\nmode: dynamic\n")
    Path("net.d").write_text(depfile.to_make(collect([Path("net.yaml")])))
    Path("Makefile").write_text("all: build/net/report.json\nbuild/net/report.json:\n\t@echo made\ninclude net.d\n")
    said = subprocess.run(["make", "-n"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "echo made\n"), said.stderr


def test_summary_json_has_a_row_for_each(summary: BatchSummary) -> None:
    plain = json.loads(to_json(summary, "0.1.0"))
    assert [model["name"] for model in plain["models"]] == ["net", "fine", "lost", "last"]
    assert plain["totals"]["models"] == {"made": 1, "up to date": 1, "failed": 1, "not reached": 1}
    assert plain["totals"]["variants"] == {"ok": 3, "failed": 1, "broken": 1, "error": 1}
