"""Mutated recipes and zoos, and damaged files: the command line always has a documented answer.

`python -m benchmarks.robustness` runs many more cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from benchmarks.damaged_inputs import KINDS
from benchmarks.robustness import Answer, answers, run_cases
from tflq.cli import main

SEED = 20261
CASES = {"recipes": 60, "zoos": 30, "inspect": 40, "lint": 20, "diff": 20, "verify": 30}
"""The cases of each kind without workers. Each runs in a child process, whose crash is seen."""
WITH_WORKERS = [kind for kind in KINDS if KINDS[kind].has_workers]
FEW = 2


def faults(found: Iterable[Answer]) -> list[tuple[int, str, str]]:
    return [(answer.case, fault, answer.text[-300:]) for answer in found for fault in answer.faults]


def test_every_kind_is_here() -> None:
    assert {*CASES, *WITH_WORKERS} == set(KINDS)


@pytest.mark.parametrize("kind", CASES)
def test_every_answer_is_documented(kind: str) -> None:
    assert faults(answers(kind, SEED, range(CASES[kind]))) == []


@pytest.mark.parametrize("kind", WITH_WORKERS)
def test_every_answer_of_workers_is_documented(kind: str) -> None:
    """They share the process that has imported TensorFlow."""
    assert faults(run_cases(kind, SEED, range(FEW))) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_every_answer_of_many_is_documented(kind: str) -> None:
    assert faults(answers(kind, SEED, range(8 * CASES[kind]))) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_WORKERS)
def test_every_answer_of_many_workers_is_documented(kind: str) -> None:
    assert faults(answers(kind, SEED, range(3 * FEW))) == []


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
