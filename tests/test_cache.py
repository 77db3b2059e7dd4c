from __future__ import annotations

import errno
import hashlib
import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tflq import cache
from tflq.cache import content
from tflq.errors import RecipeError
from tflq.worker import Workers


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    assert cache.sha256(tmp_path / "file") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_tree_bytes_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "below/b").write_bytes(b"45")
    assert (cache.tree_bytes(tmp_path / "a"), cache.tree_bytes(tmp_path)) == (3, 5)


def test_digest_tells_where_parts_end() -> None:
    assert cache.digest("ab", "c") != cache.digest("a", "bc")
    assert cache.digest("a") == cache.digest(b"a")


def test_names_of_files_from_elsewhere_are_identified(tmp_path: Path) -> None:
    """As of an archive whose names are in Latin-1."""
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    file.touch()
    assert cache.identity([file]) != cache.identity([tmp_path])
    assert cache.contents(tmp_path) != cache.digest()


def test_contents_of_a_folder_are_names_and_bytes_not_dates(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/a").write_bytes(b"1")
    before = cache.contents(tmp_path)
    os.utime(tmp_path / "below/a", (1, 1))
    assert cache.contents(tmp_path) == before
    (tmp_path / "below/a").write_bytes(b"2")
    changed = cache.contents(tmp_path)
    (tmp_path / "below/a").rename(tmp_path / "below/b")
    assert len({before, changed, cache.contents(tmp_path)}) == 3


def test_contents_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_text("1 2 3")
    found = cache.contents(tmp_path)
    monkeypatch.setattr(content, "sha256", None)
    assert cache.contents(tmp_path) == found


def test_a_linked_file_outlives_its_first_name(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1 2 3")
    cache.link(tmp_path / "one", tmp_path / "two")
    (tmp_path / "one").unlink()
    assert (tmp_path / "two").read_text() == "1 2 3"


def test_a_file_is_copied_where_the_file_system_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    (tmp_path / "one").write_text("1 2 3")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    cache.link(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "1 2 3"


def test_identity_changes_with_a_byte_even_where_size_and_date_do_not(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before, stat = cache.identity([file]), file.stat()
    file.write_bytes(b"2")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.identity([file]) != before


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("old")
    cache.write(tmp_path / "report.md", "new ≥ old")
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {"report.md": "new ≥ old"}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """A folder that is not empty cannot be replaced by a file."""
    (tmp_path / "report.md").mkdir()
    (tmp_path / "report.md/old").touch()
    with pytest.raises(OSError, match=r"report\.md"):
        cache.write(tmp_path / "report.md", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert (tmp_path / "report.md/old").exists()


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path: Path) -> None:
    cache.write(tmp_path / "report.md", "net\udcff.tflite")
    assert (tmp_path / "report.md").read_text() == "net\\udcff.tflite"


def test_a_workspace_is_inside_the_output_and_goes_away(tmp_path: Path) -> None:
    with cache.workspace(tmp_path / "new/out") as folder:
        assert folder.parent == tmp_path / "new/out"
        (folder / "file").write_text("x")
    assert list((tmp_path / "new/out").iterdir()) == []


def test_a_workspace_goes_away_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), cache.workspace(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    left, alive = tmp_path / f".work-{gone}-abc", tmp_path / f".work-{os.getppid()}-abc"
    left.mkdir()
    alive.mkdir()
    with cache.workspace(tmp_path):
        assert not left.exists()
        assert alive.exists()


def test_a_killed_run_leaves_nothing_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    (tmp_path / f"tflq-{gone}-abc").mkdir()
    (tmp_path / f"tflq-{os.getppid()}-abc").mkdir()
    (tmp_path / "tflq-of-another-program").mkdir()
    with Workers(tmp_path / "log", None, lambda _: None):
        assert (tmp_path / f"tflq-{os.getppid()}-abc").exists()
        assert not (tmp_path / f"tflq-{gone}-abc").exists()
    assert {path.name for path in tmp_path.iterdir()} == {f"tflq-{os.getppid()}-abc", "tflq-of-another-program"}


def test_a_folder_of_another_program_stays(tmp_path: Path) -> None:
    (tmp_path / ".work-x").mkdir()
    with cache.workspace(tmp_path):
        pass
    assert (tmp_path / ".work-x").exists()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="/proc/self/task: nothing can be written into this folder: "):
        cache.workspace(Path("/proc/self/task")).__enter__()


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with (
        pytest.raises(RecipeError, match="out: this folder cannot be created: File exists"),
        cache.workspace(tmp_path / "out"),
    ):
        pass


def test_files_that_belong_together_are_renamed_without_an_interrupt() -> None:
    with cache.uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_thread_may_rename_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_rename).result()


def _rename() -> None:
    with cache.uninterrupted():
        pass
