"""The pages say what the program does: messages that they quote, keys of reports, numbers that decide."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tflq.refine import HoldoutScore, LayerCorrection, RefinementConfig, RefinementReport, SignalAndNoise
from tflq.report.refinement import to_dict

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TROUBLES = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
REPORT = (DOCS / "report.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^### `(.+)`$", TROUBLES, re.MULTILINE)
NAMED_BY_DATA = {"recipe", "ops", "environment"}
"""Below these the keys are not the report's: they come from a model, a recipe or an installation."""
SAME = {"outputs": "inputs", "logits": "OUTPUT", "mask|": "OUTPUT"}
"""Keys that the page describes under another name."""


@cache
def texts_of_the_package() -> tuple[str, ...]:
    """Every text in the code, with … for what is put into it."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "tflq").rglob("*.py"))
    return tuple(filter(None, (text(node) for tree in trees for node in ast.walk(tree))))


def text(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) or "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def test_enough_messages_are_explained() -> None:
    assert len(QUOTED) >= 15
    assert len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_of_the_page_is_one_of_the_program(message: str) -> None:
    assert any(message in said for said in texts_of_the_package())


def test_every_rule_that_a_violation_names_has_a_row() -> None:
    named = {said for said in texts_of_the_package() if re.fullmatch(r"V\d+", said)}
    rows = set(re.findall(r"^\| (V\d+) \|", (DOCS / "rules.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == rows


def exit_codes(page: str) -> list[int]:
    """Those that a page has a row of a table for."""
    return [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]


def test_every_exit_code_has_a_row() -> None:
    assert exit_codes(TROUBLES) == exit_codes(REPORT) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 70, 130]


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The keys of the report, such as `variants[].metric.drop`."""
    if isinstance(value, list):
        for item in value:
            yield from paths(item, f"{path}[]")
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}".lstrip(".")
            if key not in NAMED_BY_DATA:
                yield from paths(item, f"{path}.{SAME.get(key, key)}".lstrip("."))


def documented() -> set[str]:
    """The keys of the page's tables, each with the heading above its table that is a path."""
    found, place = set[str](), ""
    for line in REPORT.partition("## report.json")[2].splitlines():
        if heading := re.match(r"####? (?:`(.+)`)?", line):
            place = f"{heading[1]}." if heading[1] else ""
        elif row := re.match(r"\| ((?:`\w+`(?:, )?)+) \|", line):
            found |= {place + key for key in re.findall(r"`(\w+)`", row[1])}
    return found


def test_every_key_of_the_report_is_on_its_page() -> None:
    report = json.loads((ROOT / "tests/golden/report.json").read_text(encoding="utf-8"))
    layer = LayerCorrection(1, "CONV_2D", "conv", 0.5, 0.9)
    score = HoldoutScore(RefinementConfig(), {"logits": SignalAndNoise((1.0, 1.0), (0.1, 0.1))})
    tried = RefinementReport(RefinementConfig(), (score,), 8, (layer,))
    keys = {*paths(report), *paths(to_dict(tried), "variants[].refinement")}
    keys = {key for key in keys if not key.startswith("baseline.fidelity.") and not key.endswith((".logits", ".mask|"))}
    assert len(keys) > 120
    assert sorted(keys - documented()) == []


def test_every_key_of_the_page_is_in_the_report() -> None:
    report = json.loads((ROOT / "tests/golden/report.json").read_text(encoding="utf-8"))
    known = {key for key in documented() if "refinement." not in key}
    assert sorted(known - {*paths(report)}) == []
