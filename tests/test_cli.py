from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psutil
import pytest
from click.testing import CliRunner, Result
from results import RESULT
from waiting import PATIENCE, until

from tflq import pipeline
from tflq.cli import main
from tflq.errors import ConversionError
from tflq.recipe import Recipe, json_schema
from tflq.result import Result as ProgressCallback

DATA = Path(__file__).parent / "data"
COMMANDS = [
    "convert",
    "batch",
    "check",
    "init",
    "ops",
    "sensitivity",
    "search",
    "advise",
    "evaluate",
    "verify",
    "inspect",
    "lint",
    "targets",
    "diff",
    "schema",
    "cache",
    "completion",
]

MODES = "float32, dynamic, weights8, dynamic4, float16, int8, int8_only, int16x8, int16x8_only, qat_int8, qat_int8_only"


def tflq(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="tflq")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with something that looks like a model, and two recipes for it."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/saved_model.pb").touch()
    (tmp_path / "good.yaml").write_text("model: net\nvariants: [float32, float16]\n")
    (tmp_path / "other.yaml").write_text("model: net\nmode: dynamic\n")
    (tmp_path / "bad.yaml").write_text("model: net\nmode: int4\nlatncy: off\n")
    (tmp_path / "lost.yaml").write_text("model: nowhere\nmode: dynamic\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


BAD = [
    f"error: bad.yaml:2: mode: 'int4' is not one of {MODES} (did you mean 'int8'?)",
    "error: bad.yaml:3: latncy: unknown key (did you mean 'latency'?)",
]
RANDOM = "measured on random numbers, not on real data: the figures do not show real accuracy"
LOST = "nowhere: there is no such folder"


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_help_says_all_in_80_columns(command: list[str]) -> None:
    said = tflq(*command, "-h")
    assert said.exit_code == 0
    assert said.output == tflq(*command, "--help").output
    assert max(map(len, said.output.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(name: str) -> None:
    command = main.commands[name]
    assert (command.help or "").splitlines()[0].endswith(".")
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert not [option.name for option in options if not (option.help or "").endswith(".")]


def test_commands_are_listed_in_the_order_in_which_one_meets_them() -> None:
    listed = tflq("--help").output.partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+)", listed, re.MULTILINE) == COMMANDS
    assert "..." not in listed


def test_help_is_there_at_once() -> None:
    """It imports Click alone, of all that is installed; `python -m benchmarks start` says how long it takes."""
    tell = "import atexit, sys; before = {*sys.modules}; atexit.register(lambda: print(*sys.modules.keys() - before))"
    code = f"{tell}; from tflq.cli import main; main(['--help'])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    modules = {name.partition(".")[0] for name in said.splitlines()[-1].split() if not name.startswith("_")}
    assert modules - sys.stdlib_module_names == {"click", "tflq"}


def test_version() -> None:
    assert tflq("--version").output == f"tflq, version {importlib.metadata.version('tflq')}\n"


NO_RECIPES = [
    ("net", "net: this is a model, not a recipe; write a recipe for it with: tflq init net -o net.yaml"),
    (
        "my net.keras",
        "my net.keras: this is a model, not a recipe; write a recipe for it with: tflq init 'my net.keras' -o"
        " 'my net'.yaml",
    ),
    (
        "some.tflite",
        "some.tflite: this is a model, not a recipe; write a recipe for it with: tflq init some.tflite -o some.yaml;"
        " look into it with: tflq inspect some.tflite",
    ),
    (".", ".: this is a folder, not a recipe; `tflq batch .` converts all recipes in it"),
    ("made", "made: this is a folder, not a recipe; it contains made/recipe.yaml"),
    (
        "made/tflq.lock",
        "made/tflq.lock: tflq wrote this file, and it is not a recipe; the recipe of that run is made/recipe.yaml",
    ),
    ("search.json", "search.json: tflq wrote this file, and it is not a recipe"),
]


@pytest.mark.parametrize(("path", "message"), NO_RECIPES, ids=[path for path, _ in NO_RECIPES])
def test_what_is_no_recipe_is_named_with_the_command_that_takes_it(path: str, message: str, folder: Path) -> None:
    (folder / "made").mkdir()
    for name in ("my net.keras", "some.tflite", "made/recipe.yaml"):
        (folder / name).touch()
    for name in ("made/tflq.lock", "search.json"):
        (folder / name).write_text('{"schema_version": 1}')
    said = tflq("convert", path)
    assert (said.exit_code, said.stderr) == (2, f"error: {message}\n")


CODE = """\
model: net
mode: int8
calibration: {dataset: {python: "rows:rows"}}
evaluation: {dataset: {npz: a.npz}, metric: {python: "own:metric"}, label: y}
"""


@pytest.mark.parametrize(
    "command", [["convert"], ["check"], ["batch"], ["evaluate", "a.tflite"], ["search"], ["verify"]]
)
def test_code_is_refused_on_request(command: list[str], folder: Path) -> None:
    (folder / "code.yaml").write_text(CODE)
    (folder / "a.tflite").touch()
    said = tflq(*command, "code.yaml", "--no-code")
    assert said.exit_code == 2
    place = "code.yaml:3" if command == ["batch"] else "code.yaml"
    assert f"{place}: calibration, evaluation.metric would run Python code, and --no-code was given" in said.output


def test_a_recipe_from_standard_input(folder: Path) -> None:
    said = CliRunner().invoke(main, ["check", "-"], input="model: net\nmode: float16\n", prog_name="tflq")
    assert (said.exit_code, said.stdout) == (0, "-: ok: net to float16 in build/stdin\n")
    said = CliRunner().invoke(main, ["check", "-"], input="model: net\nmode: int4\n", prog_name="tflq")
    assert said.exit_code == 2
    assert said.stderr.startswith("error: standard input:2: mode: 'int4' is not one of")


def test_thousands_of_errors_are_counted(folder: Path) -> None:
    (folder / "many.yaml").write_text("model: net\nmode: float16\n" + "".join(f"x{i}: 1\n" for i in range(3000)))
    lines = tflq("check", "many.yaml").stderr.splitlines()
    assert len(lines) == 21
    assert (lines[0], lines[-1]) == ("error: many.yaml:3: x0: unknown key", "error: there are 2,980 more errors")


def test_no_character_of_a_name_reaches_the_terminal_as_a_command(folder: Path) -> None:
    said = tflq("check", "\x1b[31mred.yaml")
    assert said.stderr == "error: \\x1b[31mred.yaml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch", "good.yaml", "--memory", "0"], "'0' is not a size; write a size such as 500MB or 4GB"),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["convert"], "Missing argument 'RECIPE...'."),
        (["convert", "good.yaml", "--jason"], "No such option '--jason'."),
        (["convert", "good.yaml", "--timeout", "0"], "0.0 is not in the range x>0."),
        (["convert", "good.yaml", "--timeout", "soon"], "'soon' is not a valid float range."),
        (["check", "--set"], "Option '--set' requires an argument."),
        (["evaluate", "good.yaml"], "Missing argument 'RECIPE'."),
        (["inspect", "lost.tflite"], "File 'lost.tflite' does not exist."),
        (["inspect", "net"], "File 'net' is a directory."),
        (["evaluate", "lost.tflite", "good.yaml"], "File 'lost.tflite' does not exist."),
    ],
    ids=" ".join,
)
def test_wrong_command_line(arguments: list[str], message: str, folder: Path) -> None:
    said = tflq(*arguments)
    assert (said.exit_code, said.stdout) == (2, "")
    assert message in said.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "stdout", "stderr"),
    [
        (
            ["check", "good.yaml"],
            0,
            ["good.yaml: ok: net to float32, float16 in build/good"],
            [f"note: good.yaml: {RANDOM}"],
        ),
        (["check", "bad.yaml"], 2, [], BAD),
        (
            ["check", "good.yaml", "nothing.yaml", "bad.yaml"],
            2,
            [],
            ["error: nothing.yaml: cannot be read: No such file or directory", *BAD],
        ),
        (["check", "net"], 2, [], [f"error: {NO_RECIPES[0][1]}"]),
        (
            ["check", "lost.yaml", "other.yaml"],
            3,
            ["other.yaml: ok: net to dynamic in build/other"],
            [f"error: lost.yaml:1: {LOST}", f"note: other.yaml: {RANDOM}"],
        ),
        (
            ["check", "good.yaml", "--set", "output=x", "--set", "variants.1={mode: dynamic, name: small}"],
            0,
            ["good.yaml: ok: net to float32, small in x"],
            [f"note: good.yaml: {RANDOM}"],
        ),
        (
            ["check", "good.yaml", "--set", "variants.1=float61"],
            2,
            [],
            [
                "error: --set variants.1=float61: variants.1: 'float61' is not a mode (did you mean 'float16'?);"
                f" the modes are {MODES}"
            ],
        ),
        (
            ["check", "good.yaml", "other.yaml", "--set", "wheels=4"],
            2,
            [],
            ["error: --set wheels=4: wheels: unknown key"],
        ),
        (
            ["check", "good.yaml", "--set", "batch"],
            2,
            [],
            ["error: --set batch: should have the form KEY=VALUE, such as calibration.samples=50"],
        ),
        (
            ["check", "good.yaml", "other.yaml", "--set", "output=x"],
            2,
            [],
            ["error: other.yaml: the output folder x is also that of good.yaml: give it another name or output"],
        ),
        (["convert", "bad.yaml", "good.yaml"], 2, [], BAD),
        (["convert", "lost.yaml"], 3, [], [f"error: lost.yaml:1: {LOST}"]),
        (
            ["convert", "good.yaml", "--only", "float61"],
            2,
            [],
            [
                "error: --only float61: no variant has this name (did you mean 'float16'?);"
                " the variants are float32, float16"
            ],
        ),
        (
            ["convert", "good.yaml", "./good.yaml", "--output", "x"],
            2,
            [],
            ["error: good.yaml: the output folder x/good is also that of good.yaml: give it another name or output"],
        ),
        (["evaluate", "good.yaml", "lost.yaml"], 3, [], [f"error: lost.yaml:1: {LOST}"]),
        (["init", "nowhere"], 3, [], ["error: nowhere: there is no such folder"]),
        (
            ["init", "net", "-o", "good.yaml"],
            2,
            [],
            ["error: good.yaml: the file exists already; remove it or choose another name"],
        ),
        (
            ["init", "net", "-o", "a/b.yaml"],
            2,
            [],
            ["error: a/b.yaml: the folder a does not exist; create it or choose another folder"],
        ),
        (
            ["inspect", "good.yaml"],
            7,
            [],
            ["error: good.yaml: not a .tflite file: the identifier TFL3 is missing at its start"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value and value[0] in COMMANDS else "",
)
def test_what_is_said_and_where(
    arguments: list[str], exit_code: int, stdout: list[str], stderr: list[str], folder: Path
) -> None:
    said = tflq(*arguments)
    assert (said.stdout.splitlines(), said.stderr.splitlines(), said.exit_code) == (stdout, stderr, exit_code)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "error"),
    [
        (["convert", "bad.yaml"], 2, "\n".join(BAD).replace("error: ", "")),
        (["convert", "lost.yaml"], 3, LOST),
        (["evaluate", "good.yaml", "lost.yaml"], 3, LOST),
        (["inspect", "good.yaml"], 7, "good.yaml: not a .tflite file: the identifier TFL3 is missing at its start"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_json_of_an_error_is_json_alone(arguments: list[str], exit_code: int, error: str, folder: Path) -> None:
    said = tflq(*arguments, "--json")
    assert json.loads(said.stdout) == {"schema_version": 1, "error": error, "exit_code": exit_code}
    assert said.exit_code == exit_code
    assert said.stderr.startswith("error: ")


@pytest.mark.parametrize("file", sorted(DATA.glob("*.tflite")), ids=lambda file: file.stem)
def test_inspect(file: Path) -> None:
    said = tflq("inspect", file)
    assert (said.exit_code, said.stderr) == (0, "")
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert isinstance(json.loads(tflq("inspect", "--json", file).stdout), dict)


def test_schema_is_that_of_the_recipe() -> None:
    assert tflq("schema").stdout == tflq("schema", "recipe").stdout == json_schema()
    assert json.loads(tflq("schema", "zoo").stdout)["properties"]["kind"]["const"] == "zoo"


Run = Callable[[Recipe, pipeline.Settings, Path | None], ProgressCallback]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What runs are asked for; instead of them, a recipe by the name of `other` fails, and others yield one result."""
    asked: list[tuple[Any, ...]] = []

    def run(recipe: Recipe, settings: pipeline.Settings, file: Path | None) -> ProgressCallback:
        asked.append((recipe, settings, file))
        if recipe.name == "other":
            raise ConversionError("convert float32: it crashed")
        return RESULT

    monkeypatch.setattr(pipeline, "run", run)
    return asked


def test_convert_shows_the_table_and_where_the_report_is(folder: Path, runs: list[tuple[Any, ...]]) -> None:
    said = tflq("convert", "good.yaml")
    assert said.exit_code == RESULT.exit_code == 6
    assert "int8           34.3 kB" in said.stdout
    assert said.stdout.endswith("\nreport: build/good/report.html\n")
    assert said.stderr == ""


@pytest.mark.parametrize("has_browser", [True, False])
def test_open_shows_the_page_of_each_recipe_that_has_one(
    folder: Path, runs: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, has_browser: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or has_browser)
    said = tflq("convert", "other.yaml", "good.yaml", "--open")
    page = Path("build/good/report.html").absolute()
    assert opened == [page.as_uri()]
    assert (f"there is no browser to open {page}" in said.stderr) != has_browser


def test_convert_passes_on_what_was_asked(folder: Path, runs: list[tuple[Any, ...]]) -> None:
    options = ["--only", "float16", "--output", "x", "--timeout", "2.5", "--set", "latency=off"]
    tflq("convert", "good.yaml", *options)
    ((recipe, settings, file),) = runs
    assert ([variant.name for variant in recipe.variants], recipe.output) == (["float16"], Path("x"))
    assert (recipe.latency, settings.timeout, file) == ("off", 2.5, None)


def test_each_of_several_recipes_has_its_folder(folder: Path, runs: list[tuple[Any, ...]]) -> None:
    tflq("convert", "good.yaml", "lost.yaml", "--output", "x")
    assert [recipe.output for recipe, *_ in runs] == [Path("x/good"), Path("x/lost")]


def test_a_recipe_that_fails_does_not_keep_the_next_from_running(folder: Path, runs: list[tuple[Any, ...]]) -> None:
    said = tflq("convert", "other.yaml", "good.yaml")
    assert said.stderr == "error: other: convert float32: it crashed\n"
    assert "report: build/good/report.html" in said.stdout
    assert said.exit_code == 6


def test_json_of_several_recipes(folder: Path, runs: list[tuple[Any, ...]]) -> None:
    reports = json.loads(tflq("convert", "other.yaml", "good.yaml", "--json").stdout)
    assert [report["exit_code"] for report in reports] == [5, 6]
    assert [variant["name"] for variant in reports[1]["variants"]] == [variant.name for variant in RESULT.variants]


def test_evaluate_writes_no_report(folder: Path, runs: list[tuple[Any, ...]]) -> None:
    said = tflq("evaluate", "good.yaml", "good.yaml")
    assert runs[0][2] == Path("good.yaml")
    assert "report:" not in said.stdout
    assert said.exit_code == 6


INTERRUPTED_AMID_AN_IMPORT = """
import {first}, time
from tflq.cli.boundary import boundary, install_interrupt_handler
install_interrupt_handler()
with boundary():
    try:
        import interrupted
    except KeyboardInterrupt:
        print("too early")
    time.sleep(3600)
"""


@pytest.mark.parametrize(("first", "ends"), [("time", False), ("tflq.pipeline", True)])
def test_interrupt_amid_an_import_is_not_lost(first: str, ends: bool, tmp_path: Path) -> None:
    """Pydantic would lose it there, and the run go on. A run that may have begun waits until the import has ended."""
    module = "import os, pathlib, signal\nos.kill(os.getpid(), signal.SIGINT)\npathlib.Path('ended').touch()\n"
    (tmp_path / "interrupted.py").write_text(module)
    command = [sys.executable, "-c", INTERRUPTED_AMID_AN_IMPORT.format(first=first)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout) == (130, "")
    assert ran.stderr == "interrupted; the output files of the last finished run are unchanged\n"
    assert (tmp_path / "ended").exists() == ends


def test_a_wrong_recipe_leaves_no_process_that_imports_tensorflow(folder: Path) -> None:
    """TensorFlow is imported while the recipe is loaded; here the import would never end."""
    (folder / "endless/tensorflow").mkdir(parents=True)
    (folder / "endless/tensorflow/__init__.py").write_text("import time\ntime.sleep(3600)\n")
    environment = {**os.environ, "PYTHONPATH": f"{folder}/endless:{os.environ.get('PYTHONPATH', '')}"}
    code = "from tflq.cli import main; main(prog_name='tflq')"
    command = [sys.executable, "-c", code, "convert", "nothing.yaml"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.wait() == 2
    until(lambda: not [each for each in psutil.process_iter() if is_in_session(each, process.pid)])


STARTING_FOR_EVER = """\
import pathlib, signal, sys, time
if "forkserver" in str(sys.orig_argv):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pathlib.Path(__file__).with_name("blocked" if signal.SIGINT in blocked else "open").touch()
    time.sleep(3600)
"""


def test_interrupt_while_the_fork_server_starts_is_one_line(folder: Path) -> None:
    """Ctrl-C reaches all processes of a terminal; Python would tell of it in each."""
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(STARTING_FOR_EVER)
    environment = {**os.environ, "PYTHONPATH": f"{folder}/site:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", "from tflq.cli import main; main(prog_name='tflq')", "convert", "good.yaml"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        until(lambda: {path.stem for path in (folder / "site").iterdir()} & {"blocked", "open"})
        os.killpg(process.pid, signal.SIGINT)
        shown, said = process.communicate()
    assert (process.returncode, shown) == (130, b"")
    assert said == b"interrupted; the output files of the last finished run are unchanged\n"
    assert (folder / "site/blocked").exists(), "the fork server could print a traceback"
    until(lambda: not [each for each in psutil.process_iter() if is_in_session(each, process.pid)])


def is_in_session(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def test_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> ProgressCallback:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", run)
    said = tflq("convert", "good.yaml", "other.yaml")
    assert (said.exit_code, said.stdout) == (130, "")
    assert said.stderr == "interrupted; the output files of the last finished run are unchanged\n"
