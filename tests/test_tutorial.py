"""The tutorial is followed word by word: what the page says to type is typed, and what it shows is what comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs/tutorial.md"
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n)?```(?P<language>python|yaml|console)\n(?P<text>.*?)```\n", re.DOTALL
)
NUMBER = re.compile(r"[-+±]*\d[\d,.]*")


@dataclass
class Folder:
    """The reader's folder and shell: `tflq` and `python` are those of the tests."""

    path: Path
    environment: dict[str, str]
    exit_code: int = 0

    def type(self, command: str) -> str:
        """What the command prints to standard output, each line without the spaces that end it."""
        script = f"(exit {self.exit_code}); {command}"
        ran = subprocess.run(
            ["bash", "-c", script], cwd=self.path, env=self.environment, capture_output=True, text=True, check=False
        )
        self.exit_code = ran.returncode
        assert ran.returncode in (0, 1), f"{command}\n{ran.stdout}{ran.stderr}"
        return "".join(f"{line.rstrip()}\n" for line in ran.stdout.splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, arguments in (("python", ""), ("tflq", "-c \"from tflq.cli import main; main(prog_name='tflq')\"")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    (work := tmp_path / "work").mkdir()
    package = str(PAGE.parent.parent)
    search = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": package, "COLUMNS": "100"}
    return Folder(work, {**os.environ, **search, "TFLQ_CACHE_DIR": str(tmp_path / "cache")})


@pytest.mark.slow
def test_the_tutorial_can_be_followed(folder: Folder) -> None:
    """REWRITE=1 puts what the commands print into the page, to be looked at with git diff."""
    page = PAGE.read_text(encoding="utf-8")
    now = BLOCK.sub(lambda block: followed(folder, block), page)
    if os.environ.get("REWRITE"):
        PAGE.write_text(now, encoding="utf-8")
    assert list(shown(now)) == list(shown(PAGE.read_text(encoding="utf-8")))


def followed(folder: Folder, block: re.Match[str]) -> str:
    """The block with what its commands print; a block with a file's name becomes that file."""
    mark, text = block["mark"] or "", block["text"]
    if mark.startswith("file: "):
        (folder.path / mark.removeprefix("file: ")).write_text(text, encoding="utf-8")
    if block["language"] != "console":
        return block[0]
    commands = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    said = "".join(f"$ {command}\n{folder.type(command)}" for command in commands)
    return block[0].replace(text, said)


def shown(page: str) -> Iterator[list[str]]:
    """The lines of each console block, whatever the numbers are; of one that varies, its first line alone."""
    for block in BLOCK.finditer(page):
        if block["language"] == "console":
            lines = [shape(line) for line in block["text"].splitlines()]
            yield lines[:1] if block["mark"] == "varies" else lines


def shape(line: str) -> str:
    """The line with # for each number, since another machine measures others; an exit code stays."""
    return line if re.fullmatch(r"\d+", line) else " ".join(NUMBER.sub("#", line).split())
