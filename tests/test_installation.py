"""The installation of files that belong together. After a kill, the next command leaves the files of one run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tflq import advise, cache, lock
from tflq.batch.plan import Planner
from tflq.batch.zoo import collect
from tflq.cache import installation
from tflq.diff.folders import read_folder
from tflq.errors import RecipeError
from tflq.recipe import load

OLD = {"a.tflite": "old", "failed.tflite": "old", "report.json": "old"}
NEW = {"a.tflite": "new", "b.tflite": "new", "report.json": "new"}


def contents(output: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in output.iterdir() if path.is_file()}


def killed(output: Path, step: int) -> bool:
    """Install NEW over OLD in a process that is killed before its step of that number; whether it was."""
    output.mkdir(parents=True)
    for name, text in OLD.items():
        (output / name).write_text(text)
    process = os.fork()
    if process == 0:
        try:
            _install(output, step)
        finally:
            os._exit(9)
    return bool(os.waitpid(process, 0)[1])


def _install(output: Path, step: int) -> None:
    steps = iter(range(1, 100))

    def ending_at(function: Callable[..., None]) -> Callable[..., None]:
        def end_or_call(*arguments: Any, **options: Any) -> None:
            if next(steps) == step:
                os._exit(9)
            function(*arguments, **options)

        return end_or_call

    with cache.workspace(output) as folder:
        for name, text in NEW.items():
            (folder / name).write_text(text)
        os.replace, os.unlink = ending_at(os.replace), ending_at(os.unlink)
        cache.install(folder, {name: folder / name for name in NEW}, ["failed.tflite"])
        os._exit(0)


def test_a_kill_at_any_step_leaves_the_files_of_one_run(tmp_path: Path) -> None:
    seen = []
    for step in range(1, 100):
        output = tmp_path / str(step)
        was_killed = killed(output, step)
        seen.append(contents(output))
        cache.clear_workspaces(output)
        assert contents(output) == (OLD if step == 1 else NEW), step
        assert not list(output.glob(".*")) or not was_killed
        if not was_killed:
            break
    assert step == 1 + 1 + 1 + len(NEW) + 1  # the journal appears, a file is removed, files are moved, the journal goes
    assert any(files not in (OLD, NEW) for files in seen)


def test_a_file_that_changed_since_the_kill_is_left(tmp_path: Path) -> None:
    assert killed(tmp_path / "out", 4)
    (tmp_path / "out/report.json").write_text("of a later run")
    cache.clear_workspaces(tmp_path / "out")
    assert contents(tmp_path / "out") == {"a.tflite": "new", "report.json": "of a later run"}
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(("target", "source"), [("../victim", "mine"), ("mine", "../../victim"), ("mine", "{}/victim")])
def test_a_journal_from_elsewhere_moves_nothing_across_the_folder(tmp_path: Path, target: str, source: str) -> None:
    """A folder that somebody sent may hold a journal with any paths."""
    (tmp_path / "victim").write_text("victim")
    assert killed(tmp_path / "out", 3)
    (left,) = (tmp_path / "out").glob(".work-*")
    (left / "mine").write_text("mine")
    journal = left / installation.JOURNAL
    (step, *_) = json.loads(journal.read_text())
    forged = step | {"target": target, "source": source.format(tmp_path), "before": None, "after": None}
    (tmp_path / "out/mine").unlink(missing_ok=True)
    journal.write_text(json.dumps([forged | {"before": state(tmp_path / "out" / target)}]))
    cache.clear_workspaces(tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "victim"
    assert not (tmp_path / "out/mine").exists()


def state(path: Path) -> list[int] | None:
    """The file as a journal has it."""
    stat = path.stat() if path.exists() else None
    return stat and [stat.st_ino, stat.st_size, stat.st_mtime_ns]


def test_a_folder_under_the_name_of_a_file_is_found_before_a_file_is_moved(tmp_path: Path) -> None:
    (tmp_path / "b.tflite").mkdir()
    with cache.workspace(tmp_path) as folder:
        for name in NEW:
            (folder / name).touch()
        with pytest.raises(IsADirectoryError):
            cache.install(folder, {name: folder / name for name in NEW})
    assert [path.name for path in tmp_path.iterdir()] == ["b.tflite"]


@pytest.mark.parametrize(
    "read",
    [
        lambda path: lock.read(path.parent / "build/net"),
        lambda path: advise.read(load(path)),
        lambda path: read_folder(path.parent / "build/net"),
        lambda path: Planner().plan(collect([path]).items),
    ],
    ids=["verify", "advise", "diff", "batch"],
)
def test_commands_that_read_an_output_folder_finish_the_installation(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    assert killed(tmp_path / "build/net", 4)
    (tmp_path / "model").mkdir()
    (tmp_path / "net.yaml").write_text("model: model\nmode: float16\n")
    with suppress(RecipeError):  # the files are no real ones
        read(tmp_path / "net.yaml")
    assert contents(tmp_path / "build/net") == NEW
