"""Compile C++ with the warnings of the strictest firmware, and run it on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

COMPILER = shutil.which("g++")
IS_CI = os.environ.get("CI") == "true"
needs_compiler = pytest.mark.skipif(
    COMPILER is None and not IS_CI, reason="there is no g++ to compile C++ with: install the package g++"
)


def output_of(sources: Sequence[Path], folder: Path) -> bytes:
    """What the program of these sources writes to standard output."""
    assert COMPILER, "there is no g++: install the package g++"
    program = folder / "program"
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{folder}"]
    subprocess.run([COMPILER, *flags, *map(str, sources), "-o", str(program)], check=True, cwd=folder)
    return subprocess.run([str(program)], check=True, capture_output=True).stdout
