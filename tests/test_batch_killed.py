"""`kill -9` of a whole batch, again and again at random moments: nothing half-written, and the next run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from batching import Ended, batch, begin, end, on, write_zoo
from test_interrupt import wait_until_gone
from waiting import PATIENCE

pytestmark = pytest.mark.slow
KILLS = 8
MODELS = ("tiny_conv", "two_outputs", "dynamic_size")


def zoo_in(folder: Path, models: Path, data: Path) -> Path:
    folder.mkdir()
    listed: list[Any] = [str(models / name) for name in MODELS[:2]]
    listed.append({"model": str(models / MODELS[2]), "inputs": {"image": {"shape": [1, 8, 8, 3]}}})
    return write_zoo(folder, listed, calibration=on(data, "images"), latency="off", variants=["float16", "int8"])


def files(zoo: Path) -> dict[str, bytes]:
    return {str(path.relative_to(zoo.parent)): path.read_bytes() for path in zoo.parent.rglob("*.tflite")}


def figures(ended: Ended) -> list[Any]:
    """The summary without what the clock says."""
    keys = ("name", "status", "size_bytes", "sqnr_db", "agreement", "float_ops", "ports")
    return [
        [model["name"], [[row[key] for key in keys] for row in model["variants"]]] for model in ended.summary["models"]
    ]


def kill_at(zoo: Path, seconds: float) -> None:
    """The batch and all that belongs to it, at once."""
    process = begin(zoo, "--jobs", "2")
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def check_what_is_left(zoo: Path, whole: dict[str, bytes]) -> None:
    """Each file that has its name is whole; what is under way has a hidden one."""
    for path in zoo.parent.joinpath("build").rglob("*"):
        name = str(path.relative_to(zoo.parent))
        if not path.is_file() or any(part.startswith(".") for part in Path(name).parts):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        if path.suffix == ".tflite":
            assert path.read_bytes() == whole[name], f"{name} is not what an undisturbed run makes"


def test_killed_again_and_again(models: Path, data: Path, tmp_path: Path) -> None:
    undisturbed = zoo_in(tmp_path / "undisturbed", models, data)
    started = time.monotonic()
    wanted = batch(undisturbed, "--jobs", "2")
    longest = time.monotonic() - started
    assert wanted.exit_code == 0, wanted.log
    whole = files(undisturbed)
    assert len(whole) == 2 * len(MODELS)
    zoo, chance = zoo_in(tmp_path / "killed", models, data), random.Random(0)
    for _ in range(KILLS):
        if len(files(zoo)) == len(whole):
            shutil.rmtree(zoo.parent / "build")
        kill_at(zoo, chance.uniform(0.1, longest))
        check_what_is_left(zoo, whole)
    kept = {path.parent.name for path in zoo.parent.rglob("stamp.json")}
    ended = batch(zoo, "--jobs", "2")
    assert ended.exit_code == 0, ended.log
    assert {name for name, state in ended.states.items() if state == "up to date"} == kept
    assert files(zoo) == whole
    assert figures(ended) == figures(wanted)
    assert not list(zoo.parent.rglob(".work-*"))
    assert set(batch(zoo).states.values()) == {"up to date"}


def test_ctrl_c_ends_with_a_summary_and_leaves_nobody_behind(models: Path, data: Path, tmp_path: Path) -> None:
    zoo = zoo_in(tmp_path / "zoo", models, data)
    process = begin(zoo, "--jobs", "1", "--format", "json")
    assert process.stdout is not None
    while '"stage"' not in process.stdout.readline():
        pass
    os.killpg(process.pid, signal.SIGINT)
    ended = end(process, zoo)
    assert ended.exit_code == ended.summary["exit_code"] == 130
    assert set(ended.states.values()) == {"not reached"}
    assert "Traceback" not in ended.log
    assert not list(zoo.parent.rglob(".work-*"))
    wait_until_gone(process.pid)
