"""What a killed process left is removed by the next one, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tflq import leftovers
from tflq.batch import BatchOptions, collect, make

HERE = Path(leftovers.owner()).name.rpartition("-")[2]


def other(place: str, start: int, stop: int) -> str:
    """The place with another digest there: the machine has 8 characters, its boot 4, and the container 4."""
    digits = place[start:stop].translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    return place[:start] + digits + place[stop:]


@pytest.fixture(scope="module")
def dead() -> str:
    """The name's part of a process that has ended."""
    code = "from tflq import leftovers; print(leftovers.owner())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def stays(folder: Path, name: str, age: float = 0.0) -> bool:
    """Whether a folder of that name is still there after the next process has looked."""
    left = folder / name
    left.mkdir()
    (left / "file").touch()
    os.utime(left, (time.time() - age,) * 2)
    leftovers.clear(folder, "x-")
    return left.exists()


def test_only_what_dead_processes_left_is_removed(tmp_path: Path, dead: str) -> None:
    process, start, _ = leftovers.owner().split("-")
    assert not stays(tmp_path, f"x-{dead}-abc_d")
    assert stays(tmp_path, f"x-{leftovers.owner()}-abc_d")
    assert stays(tmp_path, f"y-{dead}-abc_d"), "it has another prefix"
    assert stays(tmp_path, f"x-{dead}-a-b"), "it is no name of tflq"
    assert stays(tmp_path, "x-99999999999999999999-zzzz-")
    assert not stays(tmp_path, f"x-{process}-{int(start, 16) - 5:x}-{HERE}-ab"), "a new process has the id of the old"
    assert not stays(tmp_path, f"x-{dead.split('-')[0]}-abc_d"), "an earlier version left it"


def test_what_another_machine_left_is_removed_after_a_week(tmp_path: Path, dead: str) -> None:
    for place in (other(HERE, 0, 8), other(HERE, 0, 12), other(HERE, 12, 16), "0000"):  # the last: an earlier version
        elsewhere = f"{dead.rpartition('-')[0]}-{place}"
        assert stays(tmp_path, f"x-{elsewhere}-1", age=6 * 24 * 3600)
        assert stays(tmp_path, f"x-{elsewhere}-2", age=-1e9), "its clock goes wrong"
        assert not stays(tmp_path, f"x-{elsewhere}-3", age=8 * 24 * 3600)


def test_what_an_earlier_boot_of_this_machine_left_is_removed_at_once(tmp_path: Path) -> None:
    """Also if a process has the id and the start of the owner now, and whatever its container was."""
    process, start, _ = leftovers.owner().split("-")
    for place in (other(HERE, 8, 12), other(HERE, 8, 16)):
        assert not stays(tmp_path, f"x-{process}-{start}-{place}-ab")


def test_files_are_removed_and_absent_folders_are_none(tmp_path: Path, dead: str) -> None:
    (tmp_path / f".net[1].json.{dead}").touch()
    leftovers.clear(tmp_path, ".net[1].json.")
    assert not list(tmp_path.iterdir())
    leftovers.clear(tmp_path / "absent", "x-")


def test_a_batch_with_nothing_to_do_removes_them_too(
    tmp_path: Path, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"tflq-{dead}-abc"
    left.mkdir()
    (tmp_path / "wrong.yaml").write_text("model: 5\n")
    make(collect([tmp_path / "wrong.yaml"]), BatchOptions(jobs=1), lambda _: None)
    assert not left.exists()


KILLED = """
import multiprocessing.util, os, signal
from tflq.worker.fork_server import prepare_socket_folder
prepare_socket_folder()
print(multiprocessing.util.get_temp_dir(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("place", ["short", "long" * 25])
def test_the_folder_of_sockets_is_one_that_is_removed(tmp_path: Path, place: str) -> None:
    """Also if the place of temporary folders has a path that is too long for a socket."""
    (tmp_path / place).mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / place)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, env=environment
    )
    folder = Path(killed.stdout.strip())
    assert folder.is_dir()
    assert len(str(folder)) <= 80
    leftovers.clear(folder.parent, leftovers.RUN)
    assert not folder.exists()
    assert not list((tmp_path / place).iterdir())
