"""Mutated recipes and zoos, and damaged files: the command line always has a documented answer.

`python -m benchmarks.robustness` runs many more cases.
"""

from __future__ import annotations

import pytest

from benchmarks.robustness import KINDS, answers

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
