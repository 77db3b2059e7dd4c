"""Mutated recipes and zoos, and damaged files: the command line always has a documented answer.

`python -m benchmarks.robustness` runs many more cases.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from benchmarks.robustness import KINDS, answers
from tflq.cli import main

SEED = 20261
CASES = {"recipes": 150, "zoos": 60, "files": 90}


def faults(kind: str, count: int) -> list[tuple[int, str, str]]:
    return [(a.case, fault, a.text[-300:]) for a in answers(kind, SEED, range(count)) for fault in a.faults]


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_documented(kind: str) -> None:
    assert faults(kind, CASES[kind]) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_of_many_is_documented(kind: str) -> None:
    assert faults(kind, 15 * CASES[kind]) == []


NAMES = ("net\udcff", "net\x1b[31m", "<img src=x onerror=alert(1)>", "a|b`c`", "x" * 200)


def test_models_of_strange_names_have_rows_in_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them can be the name of a recipe, so each is an error of its own row; nothing is converted."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "saved_model.pb").touch()
    (tmp_path / "zoo.yaml").write_text("kind: zoo\ndefaults: {mode: float16}\nmodels: [models/*]\n")
    said = CliRunner().invoke(
        main, ["batch", "zoo.yaml", "--junit", "junit.xml", "--depfile", "d.mk"], prog_name="tflq"
    )
    assert said.exit_code == 2, said.output
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "build").glob("summary.*")]
    suites = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert len(suites) == len(NAMES)
    assert len(json.loads((tmp_path / "build/summary.json").read_text(encoding="utf-8"))["models"]) == len(NAMES)
    for text in (said.output, *pages):
        assert "\x1b" not in text
    assert not [page for page in pages if "<img src=x" in page and not page.startswith("{")]
    lines = CliRunner().invoke(main, ["batch", "zoo.yaml", "--format", "json"], prog_name="tflq").stdout.splitlines()
    assert all(json.loads(line) for line in lines)
