"""How the package is built: what imports what, how large files get, and what may be where.

Each test reads all files of the package and lists every offender. What `make lint` checks is not repeated here.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tflq"
LAYERS = [
    "errors",
    "leftovers",
    "special_files",
    "strict",
    "worker",
    "cache",
    "datasets",
    "inputs",
    "flatbuffer",
    "interpreter",
    "id_tables",
    "sources",
    "rules",
    "calibrate",
    "op_dtypes",
    "contract",
    "weight_only",
    "activation_widths",
    "cost_model",
    "targets",
    "firmware",
    "op_selectors",
    "modes",
    "conversion",
    "metrics",
    "layerwise",
    "evaluate",
    "channel_factors",
    "refine",
    "overlay",
    "training",
    "gates",
    "search_section",
    "recipe_conflicts",
    "recipe",
    "recipe_warnings",
    "recipe_files",
    "verdicts",
    "result",
    "lock",
    "verify",
    "scores",
    "target_gates",
    "findings",
    "stages",
    "report",
    "measured_variant",
    "advise",
    "html_report",
    "progress",
    "pipeline",
    "api",
    "float_graph",
    "recipe_template",
    "trials",
    "preload",
    "sensitivity",
    "search",
    "batch",
    "diff",
    "cli",
]
"""The files and folders of the package: each imports only from those above it."""
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
OUTSIDE = {"__init__", "__main__"}
"""The files of the package that are in no layer."""
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 45
TENSORFLOW = {"tensorflow", "tensorflow_datasets", "tf_keras", "keras"}
LIGHT = {
    "tflq": TENSORFLOW | {"pydantic", "numpy"},
    "tflq.cli": TENSORFLOW | {"pydantic", "numpy"},
    "tflq.recipe": TENSORFLOW | {"ai_edge_litert"},
    "tflq.batch": TENSORFLOW | {"ai_edge_litert"},
}
"""Modules, and what importing one of them must not import."""
FILES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def none_of(offenders: Iterable[str]) -> None:
    """Fail with one line for each offender."""
    found = sorted(offenders)
    assert not found, "\n".join([f"{len(found)} found:", *found])


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def functions() -> Iterator[tuple[Path, Function]]:
    return ((file, node) for file in FILES for node in nodes(file) if isinstance(node, Function))


def imported(file: Path) -> Iterator[str]:
    """The dotted name of everything that the file imports: at its top, in a function, or for the types alone."""
    package = (PACKAGE.name, *file.relative_to(PACKAGE).parts[:-1])
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join([*start, *filter(None, [node.module]), alias.name]) for alias in node.names)


def layers_imported(file: Path) -> set[str]:
    names = [name.split(".") for name in imported(file)]
    return {parts[1] for parts in names if parts[0] == PACKAGE.name and len(parts) > 1} & set(LAYERS) - {layer_of(file)}


def file_of(name: str) -> Path | None:
    """The file of the package that the dotted name is, or is defined in."""
    parts = name.split(".")
    if parts[0] != PACKAGE.name:
        return None
    for end in (len(parts), len(parts) - 1):
        path = ROOT.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file in FILES:
                return file
    return None


def files_imported() -> dict[Path, set[Path]]:
    return {file: {other for name in imported(file) if (other := file_of(name))} - {file} for file in FILES}


def reachable(start: Path, imports: Mapping[Path, set[Path]]) -> set[Path]:
    """The files that are imported when `start` is, and `start` itself."""
    seen, ahead = set[Path](), [start]
    while ahead:
        file = ahead.pop()
        if file not in seen:
            seen.add(file)
            ahead.extend(imports[file])
    return seen


def test_every_file_and_folder_is_a_layer() -> None:
    """And every layer is a file or a folder."""
    none_of({layer_of(file) for file in FILES} - OUTSIDE ^ set(LAYERS))


def test_the_page_lists_the_layers() -> None:
    assert re.findall(r"^1\. `(\w+)` – ", ARCHITECTURE, re.MULTILINE) == LAYERS


def test_the_page_lists_the_stages_of_a_run() -> None:
    """In the order of `pipeline.run`, each with the file that defines it; ↳ is a part of the stage above."""
    rows = re.findall(r"^\| (↳ )?`(\w+)` \| `(\w+\.py)` \|", ARCHITECTURE, re.MULTILINE)
    run = next(node for file, node in functions() if name_of(file) == "pipeline.py" and node.name == "run")
    calls = [node.func for node in ast.walk(run) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    stages = [call for call in calls if ast.unparse(call.value) == "stages"]
    assert [name for part, name, _ in rows if not part] == [
        call.attr for call in sorted(stages, key=lambda call: call.lineno)
    ]
    defined = {(name_of(file), node.name) for file, node in functions()}
    none_of(f"{file} does not define {name}" for _, name, file in rows if (f"stages/{file}", name) not in defined)


def test_files_import_only_from_layers_above() -> None:
    places = {layer: place for place, layer in enumerate(LAYERS)}
    none_of(
        f"{name_of(file)} imports from {other}"
        for file in FILES
        if layer_of(file) in places
        for other in layers_imported(file)
        if places[other] > places[layer_of(file)]
    )


def test_no_circle_of_imports_between_files() -> None:
    imports = files_imported()
    assert sum(map(len, imports.values())) > len(FILES), "imports are not seen"
    none_of(
        f"{name_of(file)} imports {name_of(other)}, which leads back to it"
        for file, others in imports.items()
        for other in others
        if file in reachable(other, imports)
    )


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert module in loaded
    none_of(LIGHT[module] & set(loaded))


def test_arguments_are_named() -> None:
    none_of(
        f"{name_of(file)}:{function.lineno} {function.name}" for file, function in functions() if function.args.kwarg
    )


def test_files_are_short() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    none_of(f"{name_of(file)} has {length} lines" for file, length in lengths.items() if length > MAX_FILE_LINES)


def test_functions_are_short() -> None:
    none_of(
        f"{name_of(file)}:{function.lineno} {function.name} has {length} lines"
        for file, function in functions()
        if (length := body_length(function)) > MAX_FUNCTION_LINES
    )


def body_length(function: Function) -> int:
    """The lines of a function without its decorators and docstring."""
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return length
    return length - (function.body[0].end_lineno - function.body[0].lineno + 1)


def test_only_the_command_line_imports_click() -> None:
    none_of(
        f"{name_of(file)} imports {name}"
        for file in FILES
        if layer_of(file) != "cli"
        for name in imported(file)
        if name.split(".")[0] == "click"
    )


def test_no_file_names_a_path_of_one_machine() -> None:
    """Reads what git tracks or would track, so it needs a git checkout."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    files = [ROOT / name for name in listed if (ROOT / name).is_file()]
    assert Path(__file__) in files
    none_of(place for file in files for place in machine_paths(file))


def machine_paths(file: Path) -> list[str]:
    """`file:line` of each path below a folder that other machines do not have; none for a binary file."""
    content = file.read_bytes()
    lines = [] if b"\0" in content else content.decode("utf-8").splitlines()
    path = re.compile(r"(?<![\w.])/(work|root|home)/")
    return [f"{file.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, start=1) if path.search(line)]


def test_no_class_name_is_declared_in_two_files() -> None:
    declared: dict[str, set[str]] = {}
    for file in FILES:
        for node in nodes(file):
            if isinstance(node, ast.ClassDef):
                declared.setdefault(node.name, set()).add(name_of(file))
    none_of(f"{name}: {', '.join(sorted(files))}" for name, files in declared.items() if len(files) > 1)


def test_packages_hold_exports_alone() -> None:
    """But for tflq itself, which imports what it exports on first use."""
    packages = [file for file in FILES if file.name == "__init__.py" and file.parent != PACKAGE]
    assert packages
    none_of(
        f"{name_of(file)}:{statement.lineno} {ast.unparse(statement).splitlines()[0][:80]}"
        for file in packages
        for statement in ast.parse(file.read_text(encoding="utf-8")).body
        if not is_export(statement)
    )


def is_export(statement: ast.stmt) -> bool:
    """Whether the statement is a docstring, an import, or `__all__`."""
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
        return all(is_export(one) for one in statement.body) and not statement.orelse
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets] == ["__all__"]
    is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_docstring or isinstance(statement, ast.Import | ast.ImportFrom)
