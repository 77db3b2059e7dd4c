"""Ctrl-C and kill -9 at several moments of a run: nothing half-written, nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import MODES, Recipes, run_recipe
from waiting import PATIENCE, until

pytestmark = pytest.mark.slow
CODE = "from tflq.cli import main; main(prog_name='tflq')"
PAGES = ["report.html", "report.json", "report.md", "recipe.yaml", "tflq.lock"]
MOMENTS = ["read the source", "convert float32 baseline", "convert int8", "measure"]


@contextmanager
def converting(recipe: Path) -> Iterator[subprocess.Popen[str]]:
    """A real `tflq convert` in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-c", CODE, "convert", str(recipe)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        yield process
    finally:
        wait_until_gone(process.pid)


def wait_until_gone(group: int) -> None:
    """Return once the process group has no process left; kill those that stay."""
    try:
        until(lambda: is_gone(group))
    except AssertionError:
        os.killpg(group, signal.SIGKILL)
        raise


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(output: Path, moment: str, process: subprocess.Popen[str]) -> None:
    """Return once the log says that a worker does this."""
    log = output / "tflq.log"

    def has_begun() -> bool:
        assert process.poll() is None, f"ended before {moment!r}"
        return log.exists() and f"=== {moment}" in log.read_text(errors="replace")

    until(has_begun)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The children of the fork server, which is the child that is not multiprocessing's resource tracker."""

    def children(parent: int) -> list[int]:
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return [int(child) for child in listed.split()]

    return [grandchild for child in children(process.pid) for grandchild in children(child)]


def made(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir() if path.is_file() and path.name != "tflq.log"}


@pytest.fixture(scope="module")
def recipe(recipes: Recipes) -> Path:
    """One that was run before, so that there is something to spoil, and that is not done as soon as it measures."""
    file = recipes.uncorrected.write("tiny_conv", MODES, latency={"runs": 10_000})
    run_recipe(file)
    return file


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there is something to interrupt."""
    monkeypatch.setenv("TFLQ_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def output(recipe: Path) -> Path:
    """Its folder, as the last run left it, without the log by which moments are told."""
    folder = recipe.parent / "build/recipe"
    (folder / "tflq.log").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c(recipe: Path, output: Path, moment: str) -> None:
    before = made(output)
    assert len(before) == len(MODES) + len(PAGES)
    with converting(recipe) as process:
        wait_for(output, moment, process)
        os.killpg(process.pid, signal.SIGINT)
        shown, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert (shown, said.splitlines()[-1]) == (
        "",
        "interrupted; the output files of the last finished run are unchanged",
    )
    assert "Traceback" not in said
    assert made(output) == before
    assert not list(output.glob(".work-*"))


@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_ctrl_c_before_the_first_worker_works(recipe: Path, output: Path, seconds: float) -> None:
    """While this process or its fork server still imports; whether Python's own words come before ours is chance."""
    before = made(output)
    with converting(recipe) as process:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, -signal.SIGINT)
    assert made(output) == before
    assert not list(output.glob(".work-*"))


@pytest.mark.parametrize("moment", MOMENTS[2:])
def test_the_whole_is_killed(recipe: Path, output: Path, moment: str) -> None:
    before = made(output)
    with converting(recipe) as process:
        wait_for(output, moment, process)
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert made(output) == before
    assert {path.name for path in output.iterdir() if path.name.startswith(".")} == {
        path.name for path in output.glob(".work-*")
    }


def test_the_next_run_clears_what_a_killed_one_left(recipe: Path, output: Path) -> None:
    with converting(recipe) as process:
        wait_for(output, "convert float32 baseline", process)
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert list(output.glob(".work-*"))
    before = made(output)
    with converting(recipe) as process:
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert not list(output.glob(".work-*"))
    files = {name: content for name, content in before.items() if name.endswith(".tflite")}
    assert files.items() <= made(output).items()


def test_a_worker_is_killed_while_it_converts(recipes: Recipes) -> None:
    """It has run other stages before, so the stage runs again."""
    recipe = recipes.uncorrected.write("tiny_conv", ["int16x8_only"])
    output = recipe.parent / "build/recipe"
    with converting(recipe) as process:
        wait_for(output, "convert int16x8_only", process)
        for worker in workers(process):
            os.kill(worker, signal.SIGKILL)
        shown, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert shown
    assert "=== convert int16x8_only, again in a new process\n" in (output / "tflq.log").read_text()
    assert list(output.glob("*.tflite"))
