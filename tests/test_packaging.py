"""The wheel and the sdist: what they hold, and that an installation without the source tree works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONSUMER = Path(__file__).parent / "data/consumer.py"
NEEDED = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "tflq", "tests")
"""What of the repository a build may read."""
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
INSTALLERS = [name for name in ("pipx", "uv") if shutil.which(name, path=PATH)] or ["pip"]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An installation of the wheel."""

    command: Path
    python: Path
    folder: Path

    def run(self, *command: str | Path) -> str:
        """What the command prints in the folder."""
        return run(self.folder, *command)


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """What the command prints in the folder, with no way to the source tree in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = kept | {"PATH": PATH} | variables
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """The wheel or sdist that setuptools makes from the source tree."""
    target.mkdir()
    run(source, sys.executable, "-c", BUILD.format(kind=kind), target)
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, without what others built in it."""
    folder = tmp_path_factory.mktemp("source")
    for name in NEEDED:
        copy = shutil.copy if (ROOT / name).is_file() else shutil.copytree
        copy(ROOT / name, folder / name)
    for cache in [*folder.rglob("__pycache__")]:
        shutil.rmtree(cache)
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", source, tmp_path_factory.mktemp("sdist") / "dist")


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel") / "dist")


def names(wheel: Path) -> set[str]:
    """The files of the package in the wheel."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tflq/")}


def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package(source: Path, wheel: Path) -> None:
    files = {str(file.relative_to(source)) for file in (source / "tflq").rglob("*") if file.is_file()}
    assert "tflq/py.typed" in files
    assert names(wheel) == files


def test_the_sdist_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "constraints.txt"} <= {file.name for file in folder.iterdir()}
    assert not (folder / "tests").exists()
    again = build("wheel", folder, tmp_path / "dist")
    assert names(again) == names(wheel)
    assert metadata(again).items() == metadata(wheel).items()


def test_the_metadata_are_complete(wheel: Path) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["License-Expression"], said["Author"]) == ("tflq", "Apache-2.0", "The tflq authors")
    assert said["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    urls = [url.split(", ")[0] for url in said.get_all("Project-URL", [])]
    assert urls == ["Homepage", "Documentation", "Source", "Issues", "Changelog"]


@pytest.fixture(scope="module", params=INSTALLERS)
def installed(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """The wheel, installed with the pinned versions; the gigabyte that this takes is removed afterwards."""
    folder = tmp_path_factory.mktemp(request.param)
    yield {"pipx": with_pipx, "uv": with_uv, "pip": with_pip}[request.param](wheel, folder)
    shutil.rmtree(folder)


def with_pipx(wheel: Path, folder: Path) -> Installed:
    places = {"PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin", "PIPX_MAN_DIR": "man"}
    variables = {name: str(folder / place) for name, place in places.items()}
    constraints = f"--constraint {ROOT / 'constraints.txt'}"
    run(folder, "pipx", "install", "--python", sys.executable, "--pip-args", constraints, wheel, **variables)
    return Installed(folder / "bin/tflq", folder / "pipx/venvs/tflq/bin/python", folder)


def with_uv(wheel: Path, folder: Path) -> Installed:
    variables = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    options = ("--python", sys.executable, "--constraints", ROOT / "constraints.txt")
    run(folder, "uv", "tool", "install", *options, wheel, **variables)
    return Installed(folder / "bin/tflq", folder / "tools/tflq/bin/python", folder)


def with_pip(wheel: Path, folder: Path) -> Installed:
    run(folder, sys.executable, "-m", "venv", "venv")
    python = folder / "venv/bin/python"
    run(folder, python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
    return Installed(folder / "venv/bin/tflq", python, folder)


def test_the_installed_command_needs_no_source_tree(installed: Installed, models: Path, wheel: Path) -> None:
    place = Path(installed.run(installed.python, "-c", "import tflq; print(tflq.__file__)").strip())
    assert place.is_relative_to(installed.folder)
    assert installed.run(installed.command, "--version") == f"tflq, version {metadata(wheel)['Version']}\n"
    assert json.loads(installed.run(installed.command, "schema"))["title"] == "Recipe"
    shutil.copytree(models / "tiny_dense", installed.folder / "net")
    installed.run(installed.command, "init", "net", "-o", "recipe.yaml")
    report = json.loads(installed.run(installed.command, "convert", "recipe.yaml", "--json"))
    assert {variant["status"] for variant in report["variants"]} == {"ok"}
    assert (installed.folder / "build/recipe/recipe-int8.tflite").is_file()


def test_type_checkers_read_the_installed_package(installed: Installed) -> None:
    options = ("--strict", "--python-executable", installed.python, "--cache-dir", installed.folder / "mypy")
    shutil.copy(CONSUMER, installed.folder)
    said = installed.run(sys.executable, "-m", "mypy", *options, CONSUMER.name)
    assert said == "Success: no issues found in 1 source file\n"
