"""How the house is built: what imports what, how large things get, who prints."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tflq"
ROOMS = [
    "errors",
    "strict",
    "worker",
    "cache",
    "datasets",
    "inputs",
    "sources",
    "flatbuffer",
    "interpreter",
    "rules",
    "calibrate",
    "contract",
    "selection",
    "modes",
    "conversion",
    "metrics",
    "evaluate",
    "refine",
    "layers",
    "training",
    "recipe",
    "result",
    "verify",
    "scores",
    "trainer",
    "job",
    "findings",
    "report",
    "advise",
    "pipeline",
    "api",
    "listing",
    "starter",
    "trials",
    "preload",
    "sensitivity",
    "search",
    "batch",
    "cli",
]
"""The files and folders of the package: each imports only from those above it."""
FILES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
TENSORFLOW = {"tensorflow", "tensorflow_datasets", "tf_keras", "keras"}
LIGHT = {
    "tflq": TENSORFLOW | {"pydantic", "numpy"},
    "tflq.cli": TENSORFLOW | {"pydantic", "numpy"},
    "tflq.recipe": TENSORFLOW,
}

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def nodes(file: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def functions(file: Path) -> Iterator[Function]:
    return (node for node in nodes(file) if isinstance(node, Function))


def imported(file: Path) -> Iterator[str]:
    """The dotted name of everything that the file imports, wherever in it."""
    package = (PACKAGE.name, *file.relative_to(PACKAGE).parts[:-1])
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join([*start, *filter(None, [node.module]), alias.name]) for alias in node.names)


def rooms_imported(file: Path) -> set[str]:
    names = [name.split(".") for name in imported(file)]
    return {parts[1] for parts in names if parts[0] == PACKAGE.name and len(parts) > 1} & set(ROOMS) - {room_of(file)}


@every_file
def test_file_imports_only_from_rooms_above(file: Path) -> None:
    room = room_of(file)
    if file.parent == PACKAGE and room in ("__init__", "__main__"):
        pytest.skip("stands outside the rooms")
    assert room in ROOMS, f"{file.name} has no place among the rooms"
    below = rooms_imported(file) - set(ROOMS[: ROOMS.index(room)])
    assert not below, f"{room} imports from below: {sorted(below)}"


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip("not built yet")
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not LIGHT[module] & set(loaded)


@every_file
def test_every_exception_is_caught_by_name(file: Path) -> None:
    handlers = [node for node in nodes(file) if isinstance(node, ast.ExceptHandler)]
    assert not [handler.lineno for handler in handlers if is_broad(handler)]


def is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"Exception", "BaseException"})


@every_file
def test_arguments_are_few_and_named(file: Path) -> None:
    assert not [function.name for function in functions(file) if function.args.kwarg]
    assert not {function.name: count for function in functions(file) if (count := parameter_count(function)) > 5}


def parameter_count(function: Function) -> int:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in every)


@every_file
def test_file_and_functions_are_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300
    assert not {function.name: length for function in functions(file) if (length := body_length(function)) > 45}


def body_length(function: Function) -> int:
    """The lines of a function without its decorators and docstring."""
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return length
    return length - (function.body[0].end_lineno - function.body[0].lineno + 1)


@every_file
def test_only_the_command_line_prints(file: Path) -> None:
    if room_of(file) == "cli":
        pytest.skip("the command line prints")
    calls = [node for node in nodes(file) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not [name for name in imported(file) if name.split(".")[0] == "click"]


def test_no_file_names_a_path_of_one_machine() -> None:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in found.stdout.split("\0") if name]
    assert not [place for file in files if file.is_file() for place in machine_paths(file)]


def machine_paths(file: Path) -> list[str]:
    """`file:line` of each path below a folder that other machines do not have; none for a binary file."""
    content = file.read_bytes()
    lines = [] if b"\0" in content else content.decode("utf-8").splitlines()
    path = re.compile(r"(?<![\w.])/(work|root|home)/")
    return [f"{file.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, start=1) if path.search(line)]
