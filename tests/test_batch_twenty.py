"""A zoo of twenty, three of them bad in three ways, made unattended: what is good is made, what is bad is told."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from batching import Ended, batch, begin, end, on, write_zoo

pytestmark = pytest.mark.slow
GOOD = ("tiny_conv", "tiny_dense", "with_sin", "squared_difference")
ROWS = """\
import os
import signal
import time

import numpy as np


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)
    yield {}


def hang():
    time.sleep(3600)
    yield {}


def eat():
    held = np.ones(1_600_000_000 // 8)
    time.sleep(3600)
    yield {"x": held[:16]}
"""


class Watched:
    """A process and how much memory it took at each tenth of a second."""

    def __init__(self, process: int) -> None:
        self.rss_bytes: list[int] = []
        self._process = psutil.Process(process)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        try:
            while True:
                self.rss_bytes.append(self._process.memory_info().rss)
                time.sleep(0.1)
        except psutil.NoSuchProcess:
            return


@pytest.fixture(scope="module")
def twenty(models: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Watched, Path]:
    folder = tmp_path_factory.mktemp("twenty")
    (folder / "rows.py").write_text(ROWS)
    good = [
        {"model": str(models / GOOD[i % 4]), "name": f"good{i:02}", "variants": ["float16"] if i % 4 > 1 else ["int8"]}
        | ({"calibration": on(data, "images")} if i % 4 == 0 else {})
        for i in range(17)
    ]
    bad = [
        {"model": str(models / "tiny_dense"), "name": "segfault", "calibration": {"dataset": {"python": "rows:crash"}}},
        {"model": str(models / "tiny_dense"), "name": "hungry", "calibration": {"dataset": {"python": "rows:eat"}}},
        {"model": str(models / "tiny_dense"), "name": "misspelt", "calibration": {"sampels": 3}},
    ]
    order = [bad[0], *good[:4], bad[1], *good[4:8], bad[2], *good[8:]]
    zoo = write_zoo(folder, order, calibration=on(data, "vectors"), latency="off", variants=["int8"])
    process = begin(zoo, "--jobs", "2", "--memory", "1.5GB", "--junit", "junit.xml")
    watched = Watched(process.pid)
    return end(process, zoo), watched, folder


def test_seventeen_are_made(twenty: tuple[Ended, Watched, Path]) -> None:
    ended, _, folder = twenty
    good = [name for name, state in ended.states.items() if state == "made"]
    assert sorted(good) == [f"good{i:02}" for i in range(17)]
    assert all(len(list((folder / "build" / name).glob("*.tflite"))) == 1 for name in good)


def test_three_are_told_with_stage_and_cause(twenty: tuple[Ended, Watched, Path]) -> None:
    ended, _, _ = twenty
    whys = {name: ended.model(name)["why"] for name, state in ended.states.items() if state == "failed"}
    assert set(whys) == {"segfault", "hungry", "misspelt"}
    assert whys["segfault"].startswith("open the evaluation data: the worker process crashed with SIGSEGV")
    taken = re.match(r"open the evaluation data: its processes took (\d\.\d\d) GB of memory", whys["hungry"])
    assert float(taken[1]) >= 1.5
    assert whys["hungry"].partition("; ")[2].startswith("--memory raises the limit")
    assert whys["misspelt"].startswith("zoo.yaml:")
    assert "calibration.sampels: unknown key (did you mean 'samples'?)" in whys["misspelt"]
    assert all(f"{name}" in ended.output for name in whys)


def test_the_exit_code_is_the_most_serious(twenty: tuple[Ended, Watched, Path]) -> None:
    ended, _, _ = twenty
    bad = {name: code for name, code in ended.codes.items() if code}
    assert bad == {"segfault": 4, "hungry": 4, "misspelt": 2}
    assert ended.exit_code == ended.summary["exit_code"] == 4


def test_the_parents_memory_is_flat(twenty: tuple[Ended, Watched, Path]) -> None:
    _, watched, _ = twenty
    early, late = watched.rss_bytes[len(watched.rss_bytes) // 4], max(watched.rss_bytes[len(watched.rss_bytes) // 4 :])
    assert late - early < 20_000_000
    assert late < 250_000_000


def test_junit_has_a_case_for_each(twenty: tuple[Ended, Watched, Path]) -> None:
    _, _, folder = twenty
    root = ElementTree.parse(folder / "junit.xml").getroot()
    assert len(root.findall("testsuite")) == 20
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("20", "3", "0")


LIMITS = (20, 80, 320, 1280)
"""Seconds that a model may take. A busy machine needs the later ones until the dataset is even opened."""


def test_one_that_hangs_is_stopped_and_the_other_is_made(models: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(ROWS)
    hang = {"model": str(models / "tiny_dense"), "name": "hang", "calibration": {"dataset": {"python": "rows:hang"}}}
    listed = [hang, {"model": str(models / "with_sin"), "name": "good", "variants": ["float16"]}]
    zoo = write_zoo(tmp_path, listed, calibration=on(data, "vectors"), latency="off", variants=["int8"])
    for limit in LIMITS:
        ended = batch(zoo, "--jobs", "2", "--timeout", str(limit))
        why = ended.model("hang")["why"]
        assert f": this model took longer than its limit of {limit} s" in why
        if why.startswith("open the evaluation data: ") and ended.states["good"] != "failed":
            break
    assert why.startswith("open the evaluation data: ")
    assert ended.states["good"] in ("made", "up to date")
    assert (ended.exit_code, ended.codes) == (4, {"hang": 4, "good": 0})
