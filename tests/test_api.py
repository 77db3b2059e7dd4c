"""The Python API: what `tflq` exports, how light it is, and what its function does with its options."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from running import Recipes

import tflq
from tflq import pipeline, recipe, result, worker
from tflq.cache import default_store

ROOT = Path(__file__).parent.parent
CONSUMER = Path(__file__).parent / "data/consumer.py"
MISTAKES = {
    'result = tflq.convert("recipe.yaml", jbos=2)': 'Unexpected keyword argument "jbos"',
    "result = tflq.convert(5)": 'Argument 1 to "convert" has incompatible type "int"',
    "def show(it: tflq.Result) -> float:\n    return it.exit_cod": '"Result" has no attribute "exit_cod"',
    "def seconds(it: tflq.Variant) -> str:\n    return it.seconds": 'got "float", expected "str"',
}
"""Wrong programs, and a part of what the type checker says of each."""


def test_the_names_have_their_objects() -> None:
    assert (tflq.run, tflq.Settings) == (pipeline.run, pipeline.Settings)
    assert (tflq.load, tflq.Recipe) == (recipe.load, recipe.Recipe)
    assert (tflq.Result, tflq.Variant, tflq.Gate) == (result.Result, result.Variant, result.Gate)
    assert (tflq.Event, tflq.Listener, tflq.Progress) == (worker.Event, worker.Listener, worker.Progress)


def test_every_exported_name_is_there_and_known_to_type_checkers() -> None:
    source = ast.parse((ROOT / "tflq/__init__.py").read_text())
    imported = {alias.name for node in ast.walk(source) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(tflq.__all__) == imported - {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    assert not [name for name in tflq.__all__ if not hasattr(tflq, name)]
    lazy = {name for names in tflq._MODULES.values() for name in names}
    assert lazy <= set(tflq.__all__)


def test_a_name_that_is_not_exported() -> None:
    with pytest.raises(AttributeError, match=r"^module 'tflq' has no attribute 'convrt'$"):
        tflq.convrt  # noqa: B018


@pytest.mark.parametrize("first", ["tflq.pipeline", "tflq.conversion", "tflq.cli", "tflq.api"])
def test_convert_is_the_function_whatever_was_imported_before(first: str) -> None:
    code = f"import {first}, tflq; print(tflq.convert.__module__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "tflq.api\n"


def test_no_exported_name_is_that_of_a_module() -> None:
    """Importing the module would put it in the place of what is exported."""
    assert not {path.stem for path in (ROOT / "tflq").iterdir()} & set(tflq.__all__)


def test_convert_imports_no_tensorflow_into_the_callers_process(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: nowhere\nmode: float16\n")
    code = "import sys, tflq\ntry: tflq.convert('recipe.yaml')\nexcept tflq.SourceError: print(*sys.modules)"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "tflq.pipeline" in ran.stdout.split()
    assert not {"tensorflow", "keras"} & set(ran.stdout.split())


def test_convert_of_a_path(recipes: Recipes) -> None:
    path = recipes.write("tiny_dense", ["float32", "int8"])
    events: list[tflq.Event] = []
    threads = set()

    def listen(event: tflq.Event) -> None:
        events.append(event)
        threads.add(threading.current_thread())

    made = tflq.convert(path, jobs=1, timeout=600, listen=listen)
    assert [(variant.name, variant.status) for variant in made.variants] == [("float32", "ok"), ("int8", "ok")]
    assert made.exit_code == 0
    assert (path.parent / "build/recipe/recipe-int8.tflite").is_file()
    assert "convert int8" in {event.stage for event in events if isinstance(event, tflq.Started)}
    assert threads == {threading.current_thread()}
    assert default_store().entries()


def test_convert_of_a_loaded_recipe_without_the_cache(
    recipes: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFLQ_CACHE_DIR", str(tmp_path / "cache"))
    loaded = tflq.load(recipes.write("tiny_dense", ["float16"]), ["gates.min_sqnr_db=300"])
    made = tflq.convert(loaded, cache=False)
    assert [gate.name for variant in made.variants for gate in variant.gates if not gate.passed] == ["min_sqnr_db"]
    assert made.exit_code == 1
    assert not (tmp_path / "cache").exists()
    assert capfd.readouterr() == ("", "")


def test_timeout_and_errors(recipes: Recipes) -> None:
    path = recipes.write("tiny_dense", ["float16"])
    with pytest.raises(tflq.TflqError, match=r": not done after 0\.01 s, so it was stopped") as error:
        tflq.convert(path, timeout=0.01, cache=False)
    assert error.value.exit_code > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, r"^jobs is 0; it should be 1 or more$"),
        ({"timeout": 0}, r"^timeout is 0; it should be a number of seconds above 0$"),
        ({"timeout": -1.5}, r"^timeout is -1.5; it should be a number of seconds above 0$"),
    ],
)
def test_options_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tflq.convert("nowhere.yaml", **options)


def test_a_recipe_that_is_not_there() -> None:
    with pytest.raises(tflq.RecipeError, match=r"^nowhere\.yaml: cannot be read"):
        tflq.convert("nowhere.yaml")


@pytest.mark.slow
def test_a_program_that_uses_it_passes_the_type_checker(tmp_path: Path) -> None:
    assert types(CONSUMER, tmp_path) == ["Success: no issues found in 1 source file"]


@pytest.mark.slow
def test_the_type_checker_sees_mistakes(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("import tflq\n" + "\n".join(MISTAKES) + "\n")
    said = types(tmp_path / "wrong.py", tmp_path)
    assert [message for message in MISTAKES.values() if not any(message in line for line in said)] == []


def types(program: Path, folder: Path) -> list[str]:
    """What mypy says of the program in strict mode."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(folder / "cache")]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    command = [*mypy, str(program)]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return ran.stdout.splitlines()
