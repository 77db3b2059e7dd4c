"""Arguments that are no files: each command says what is wrong with them, and ends."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tflq.cli import main
from tflq.datasets.images import Images
from tflq.datasets.npz import Npz
from tflq.datasets.tfrecord import Feature, TFRecord
from tflq.errors import REFUSALS, DatasetError, EvaluationError
from tflq.interpreter import Runner
from tflq.recipe import load
from tflq.recipe_files import source_files

LONG = "x" * 300
DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(next(DATA.glob("cnn_*.tflite")), "net.tflite")
    os.mkfifo("pipe.yaml")
    return tmp_path


def said(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="tflq")


@pytest.mark.parametrize("command", [("check",), ("verify",), ("advise",), ("batch", "--dry-run")])
def test_a_named_pipe_is_no_recipe(command: tuple[str, ...]) -> None:
    """Nothing may write into it, and then its content never comes."""
    answer = said(*command, "pipe.yaml")
    assert answer.exit_code == 2
    assert "pipe.yaml: cannot be read: this is a named pipe, and not a file" in answer.output


@pytest.mark.parametrize(
    "command", [("inspect", "{}"), ("lint", "{}"), ("diff", "{}", "net.tflite"), ("diff", "net.tflite", "{}")]
)
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("pipe.yaml", "cannot be read: this is a named pipe, and not a file"),
        ("/dev/zero", "cannot be read: this is a device, and not a file"),
        ("/proc/self/mem", "cannot be read: Input/output error"),
    ],
)
def test_what_never_ends_is_no_file(command: tuple[str, ...], path: str, why: str) -> None:
    answer = said(*(argument.format(path) for argument in command))
    assert answer.exit_code == 7
    assert answer.stderr == f"error: {path}: {why}\n"


@pytest.mark.parametrize("name", ["data.npz", "data.tfrecord", "data.tfrecord.gz", "labels.csv", "photos/0.png"])
def test_a_named_pipe_is_no_data(folder: Path, name: str) -> None:
    (folder / "photos").mkdir()
    os.mkfifo(name)
    if name.endswith("npz"):
        dataset: Npz | TFRecord | Images = Npz(npz=folder / name)
    elif "tfrecord" in name:
        dataset = TFRecord(tfrecord=folder / name, features={"image": Feature(dtype="image")})
    else:
        dataset = Images(images=folder / "photos", labels=folder / name if name.endswith("csv") else "none")
    with pytest.raises(DatasetError, match=f"{name}: cannot be read: this is a named pipe, and not a file"):
        [row["image"] for row in dataset.rows(range(dataset.count()))]


def test_the_pipe_of_a_shell_is_read() -> None:
    """`tflq check <(command)` names a pipe that has no path of its own."""
    reading, writing = os.pipe()
    os.write(writing, b"model: net\nmode: float17\n")
    os.close(writing)
    answer = said("check", f"/dev/fd/{reading}")
    os.close(reading)
    assert f"/dev/fd/{reading}:2: mode: 'float17' is not one of" in answer.output


@pytest.mark.parametrize("option", ["--html", "--markdown"])
def test_links_and_devices_are_written_to_and_not_replaced(folder: Path, option: str) -> None:
    """A container often runs as root, who could replace /dev/stdout and /dev/null by files."""
    reading, writing = os.pipe()
    (folder / "link").symlink_to(f"/dev/fd/{writing}")
    with ThreadPoolExecutor() as threads, os.fdopen(reading, "rb") as pipe:
        content = threads.submit(pipe.read)
        answer = said("diff", "net.tflite", "net.tflite", option, "link")
        os.close(writing)
        assert content.result()
    assert answer.exit_code == 0
    assert (folder / "link").is_symlink()


@pytest.mark.parametrize("target", ["full", "a/b", "folder"])
def test_a_file_that_cannot_be_written_is_named(folder: Path, target: str) -> None:
    (folder / "full").symlink_to("/dev/full")
    (folder / "a").touch()
    (folder / "folder").mkdir()
    answer = said("diff", "net.tflite", "net.tflite", "--html", target)
    assert answer.exit_code == 2
    assert answer.stderr.startswith(f"error: {target}: the file cannot be written: ")


def test_a_path_that_the_system_refuses_is_no_error_in_tflq() -> None:
    answer = said("check", f"{LONG}.yaml")
    assert answer.exit_code == 2
    assert answer.stderr.endswith(f"{LONG}.yaml: File name too long; check the path, its permissions and the disk\n")
    assert errno.ENOENT not in REFUSALS, "a file of tflq's own may be missing by an error in tflq"


@pytest.mark.parametrize("command", [("batch",), ("check",), ("init",), ("inspect",), ("diff", "net.tflite")])
def test_an_empty_text_is_not_the_present_folder(command: tuple[str, ...]) -> None:
    """The text of a variable of the shell that was never set."""
    answer = said(*command, "")
    assert answer.exit_code == 2
    assert "the path is empty" in answer.output


@pytest.mark.parametrize(
    "command",
    [
        ("diff", "net.tflite", "net.tflite", "--html", "-"),
        ("diff", "net.tflite", "net.tflite", "--markdown", "-"),
        ("batch", "zoo.yaml", "--junit", "-"),
        ("init", "net", "-o", "-"),
        ("convert", "net.yaml", "--output", "-"),
    ],
)
def test_a_dash_is_not_the_name_of_a_file_to_write(command: tuple[str, ...]) -> None:
    answer = said(*command)
    assert answer.exit_code == 2
    assert "'-' is not a path: write ./- for this name, or /dev/stdout for standard output" in answer.output
    assert not Path("-").exists()


def test_a_newline_in_a_name_does_not_divide_a_message() -> None:
    Path("a\nb.yaml").write_text("5")
    (line,) = said("check", "a\nb.yaml").stderr.splitlines()
    assert line.startswith(r"error: a\nb.yaml:1: ")


def test_a_name_that_is_not_utf_8_is_told_before_litert_opens_it(folder: Path) -> None:
    path = folder / os.fsdecode(b"bad\xff.tflite")
    shutil.copy("net.tflite", path)
    with pytest.raises(EvaluationError, match=r"bad\\udcff\.tflite: LiteRT opens only files whose path is UTF-8"):
        Runner(path)


def test_the_files_of_a_folder_that_is_no_model_are_not_read(folder: Path) -> None:
    """It may be the folder above, or the root of the file system."""
    (folder / "net.yaml").write_text("model: .\nmode: float16\n")
    assert source_files(load(Path("net.yaml"))) == []
    (folder / "saved_model.pb").touch()
    assert folder / "saved_model.pb" in [path.absolute() for path in source_files(load(Path("net.yaml")))]
