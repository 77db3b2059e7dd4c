"""An exception that nobody foresaw has its own exit code, in every command, and leaves its traceback in a log."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from results import RESULT

from tflq.cli import main
from tflq.cli.running import with_places
from tflq.errors import RecipeError, TflqError

CALLS = {
    "convert": ("tflq.recipe.load", ["convert", "net.yaml"]),
    "batch": ("tflq.batch.collect", ["batch", "net.yaml"]),
    "check": ("tflq.recipe.check_source", ["check", "net.yaml"]),
    "init": ("tflq.recipe_template.recipe_for", ["init", "net"]),
    "ops": ("tflq.recipe.load", ["ops", "net.yaml"]),
    "sensitivity": ("tflq.sensitivity.sensitivity", ["sensitivity", "net.yaml"]),
    "search": ("tflq.search.run.search", ["search", "net.yaml"]),
    "advise": ("tflq.advise.read", ["advise", "net.yaml"]),
    "evaluate": ("tflq.pipeline.run", ["evaluate", "net.tflite", "net.yaml"]),
    "verify": ("tflq.lock.read", ["verify", "net.yaml"]),
    "diff": ("tflq.diff.diff", ["diff", "net.tflite", "net.tflite"]),
    "inspect": ("tflq.flatbuffer.load", ["inspect", "net.tflite"]),
    "lint": ("tflq.targets.verdict.file_verdicts", ["lint", "net.tflite"]),
    "targets": ("tflq.targets.shipped.shipped", ["targets"]),
    "schema": ("tflq.recipe.json_schema", ["schema"]),
    "cache": ("tflq.cache.default_store", ["cache"]),
    "completion": ("click.shell_completion.BashComplete.source", ["completion", "bash"]),
}
"""For each command a function that it calls, and a command line."""
every_command = pytest.mark.parametrize("command", CALLS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/saved_model.pb").touch()
    (tmp_path / "net.tflite").touch()
    (tmp_path / "net.yaml").write_text("model: net\nmode: float16\n")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(function: str, arguments: list[str], error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """What the command does if that function raises that error."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(function, fail)
    return CliRunner().invoke(main, arguments, prog_name="tflq")


def test_every_command_is_here() -> None:
    assert set(CALLS) == set(main.commands)


@every_command
def test_an_unforeseen_exception_is_one_line_and_exit_code_70(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run(*CALLS[command], ValueError("two\nlines"), monkeypatch)
    assert said.exit_code == 70
    (log,) = (folder / "temporary").iterdir()
    (line,) = said.stderr.splitlines()
    assert line == f"error: this is an error in tflq: ValueError: two lines; the log is at {log}; please report it"
    assert log.read_text().startswith("Traceback")


@every_command
def test_an_interrupt_is_130_wherever_it_comes(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(*CALLS[command], KeyboardInterrupt(), monkeypatch)
    assert said.exit_code == 130
    assert said.stderr.splitlines() == ["interrupted; the output files of the last finished run are unchanged"]


@pytest.mark.parametrize(
    ("command", "log"),
    [("convert", "tflq.log"), ("evaluate", "evaluate.log"), ("search", "trials.log"), ("sensitivity", "trials.log")],
)
def test_the_traceback_is_in_the_log_of_the_run(
    command: str, log: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "build/net").mkdir(parents=True)
    (folder / "build/net" / log).write_text("=== what was said before\n")
    function = "tflq.pipeline.run" if command == "convert" else CALLS[command][0]
    said = run(function, CALLS[command][1], ValueError("boom"), monkeypatch)
    assert said.exit_code == 70
    assert f"; the log is at {Path('build/net') / log}; " in said.stderr
    before, _, trace = (folder / "build/net" / log).read_text().partition("\n")
    assert before == "=== what was said before"
    assert trace.startswith("Traceback")
    assert not list((folder / "temporary").iterdir())


@pytest.mark.parametrize("command", ["ops", "search", "sensitivity", "verify", "convert"])
def test_an_error_about_a_key_has_its_place(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "net.yaml").write_text("model: net\nmode: float16\ninputs:\n  x: {scale: 2}\n")
    function = "tflq.float_graph.float_graph" if command == "ops" else CALLS[command][0]
    function = "tflq.pipeline.run" if command == "convert" else function
    said = run(function, CALLS[command][1], RecipeError("inputs.x: the model has no such input"), monkeypatch)
    assert said.exit_code == 2
    assert said.stderr.splitlines()[0] == "error: net.yaml:4: inputs.x: the model has no such input"


def test_an_error_of_a_variant_has_the_place_of_its_key(folder: Path) -> None:
    recipe = folder / "net.yaml"
    recipe.write_text("model: net\nvariants:\n- mode: int8\n  name: small\n  keep_float: [nothing]\n")
    failed = replace(RESULT.variants[0], name="small", error=RecipeError("keep_float: 'nothing' names no op"))
    (told,) = with_places(replace(RESULT, variants=(failed,)), Path("net.yaml"), ()).variants
    assert str(told.error) == "net.yaml:5: keep_float: 'nothing' names no op"


def test_a_program_that_reads_json_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = run("tflq.pipeline.run", ["convert", "--json", "net.yaml"], ValueError("boom"), monkeypatch)
    assert said.exit_code == 70
    assert json.loads(said.stdout)["exit_code"] == 70


def test_without_room_for_a_log_it_is_told_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
    said = run(*CALLS["check"], ValueError("boom"), monkeypatch)
    assert said.exit_code == 70
    assert (
        said.stderr == "error: this is an error in tflq: ValueError: boom; no log could be written; please report it\n"
    )


def test_every_exit_code_is_in_the_help() -> None:
    listed = CliRunner().invoke(main, ["--help"], prog_name="tflq").output
    codes = {kind.exit_code for kind in TflqError.__subclasses__()}
    assert codes >= {2, 3, 4, 5, 7, 70}
    assert not [code for code in {0, 1, 6, 130, *codes} if f" {code}  " not in listed]
