"""Kills at random moments: the output folder holds the files of one run, and nothing that is left adds up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.kills import kill_often, prepared

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("command", "models", "kills", "most"), [("convert", ("net",), 20, 4), ("batch", ("net", "second"), 10, 8)]
)
def test_nothing_is_torn_or_adds_up(
    tmp_path: Path, command: str, models: tuple[str, ...], kills: int, most: int
) -> None:
    trial = prepared(tmp_path / command, command, models)
    kill_often(trial, kills, random.Random(20261))
    assert trial.faults == []
    assert trial.most_left <= most
