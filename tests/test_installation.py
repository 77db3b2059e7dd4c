"""The installation of files that belong together: the folder has the files of one run after an error or a kill."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tflq import advise, cache, leftovers, lock
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

    def end_at(number: int) -> None:
        if number == step:
            os._exit(9)

    return _is_ended(output, end_at)


def failed(output: Path, step: int, times: int) -> bool:
    """The same in a process in which so many steps fail from that one on; whether the installation failed."""

    def fail_at(number: int) -> None:
        if step <= number < step + times:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return _is_ended(output, fail_at)


def _is_ended(output: Path, before_step: Callable[[int], None]) -> bool:
    """Install NEW over OLD in a process that calls that function before each step; whether it did not end well."""
    output.mkdir(parents=True, exist_ok=True)
    for name, text in OLD.items():
        (output / name).write_text(text)
    process = os.fork()
    if process == 0:
        try:
            _install(output, before_step)
        finally:
            os._exit(9)
    return bool(os.waitpid(process, 0)[1])


def _install(output: Path, before_step: Callable[[int], None]) -> None:
    steps = count(1)

    def counted(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **options: Any) -> None:
            before_step(next(steps))
            function(*arguments, **options)

        return call

    with suppress(OSError), cache.workspace(output) as folder:
        for name, text in NEW.items():
            (folder / name).write_text(text)
        os.replace, os.unlink = counted(os.replace), counted(os.unlink)
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
    assert step == STEPS + 1
    assert any(files not in (OLD, NEW) for files in seen)


STEPS = 1 + 1 + len(NEW) + 1
"""The journal appears, a file is removed, files are moved, the journal goes."""


def test_an_error_at_any_step_leaves_the_files_of_the_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, STEPS + 1):
        assert failed(tmp_path / str(step), step, times=1)
        assert contents(tmp_path / str(step)) == OLD, step
        assert not list((tmp_path / str(step)).glob(".*"))
    assert not failed(tmp_path / "none", STEPS + 1, times=1)
    monkeypatch.setattr(os, "link", _refuse)  # as file systems without hard links do
    assert failed(tmp_path / "copied", STEPS - 1, times=1)
    assert contents(tmp_path / "copied") == OLD


def _refuse(*_: Any, **__: Any) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("times", [2, 3, 4, 99])
def test_errors_that_last_are_mended_by_the_next_command(tmp_path: Path, times: int) -> None:
    for step in range(1, STEPS + 1):
        output = tmp_path / str(step)
        assert failed(output, step, times)
        cache.clear_workspaces(output)
        assert contents(output) in (OLD, NEW), step
        assert not list(output.glob(".*"))


def test_a_kill_while_moved_files_are_put_back_is_mended_too(tmp_path: Path) -> None:
    seen = []
    for step in range(STEPS, 2 * STEPS):

        def fail_and_end(number: int, last: int = step) -> None:
            if number == STEPS - 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if number == last:
                os._exit(9)

        output = tmp_path / str(step)
        assert _is_ended(output, fail_and_end)
        seen.append(contents(output))
        cache.clear_workspaces(output)
        assert contents(output) == (NEW if step == STEPS else OLD), step
        assert not list(output.glob(".*"))
    assert any(files not in (OLD, NEW) for files in seen)


def test_what_cannot_be_finished_yet_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed(tmp_path, 4)
    with monkeypatch.context() as context:
        context.setattr(os, "replace", _refuse)
        cache.clear_workspaces(tmp_path)
    assert contents(tmp_path) not in (OLD, NEW)
    cache.clear_workspaces(tmp_path)
    assert contents(tmp_path) == NEW
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_is_busy_leaves_the_files_of_the_earlier_run(tmp_path: Path) -> None:
    """A file on which another is mounted, as containers do, cannot be replaced."""
    for name, text in OLD.items():
        (tmp_path / name).write_text(text)
    busy = tmp_path / "report.json"
    if subprocess.run(["mount", "--bind", busy, busy], check=False, capture_output=True).returncode:
        pytest.skip("this test needs the right to mount a file system")
    try:
        with cache.workspace(tmp_path) as folder:
            for name, text in NEW.items():
                (folder / name).write_text(text)
            with pytest.raises(OSError, match="busy"):
                cache.install(folder, {name: folder / name for name in NEW}, ["failed.tflite"])
        assert contents(tmp_path) == OLD
        assert not list(tmp_path.glob(".*"))
    finally:
        subprocess.run(["umount", "--lazy", busy], check=True)


def test_links_are_put_back_as_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("old")
    for name in OLD:
        (tmp_path / name).symlink_to("elsewhere")
    (tmp_path / "failed.tflite").unlink()
    (tmp_path / "failed.tflite").mkdir()  # a folder cannot be removed like a file
    with cache.workspace(tmp_path) as folder, pytest.raises(OSError, match=r"failed\.tflite"):
        cache.install(folder, {}, ["a.tflite", "failed.tflite"])
    assert (tmp_path / "a.tflite").readlink() == Path("elsewhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*OLD, "elsewhere"])


def test_what_was_killed_before_the_machine_started_again_is_finished_at_once(tmp_path: Path) -> None:
    assert killed(tmp_path, 4)
    (left,) = tmp_path.glob(".work-*")
    _, start, place = leftovers.owner().split("-")
    boot = "1111" if place[8:12] == "0000" else "0000"
    left.rename(tmp_path / f".work-{os.getpid()}-{start}-{place[:8]}{boot}{place[12:]}-abc")
    cache.clear_workspaces(tmp_path)
    assert contents(tmp_path) == NEW
    assert not list(tmp_path.glob(".*"))


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
