"""The table of which op computes in which dtype is that of the installed versions."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from tflq.op_dtypes import FAILING, QUANTIZABLE, remedy, table

ROOT = Path(__file__).parent.parent


def test_table_is_of_the_installed_versions() -> None:
    assert {name: importlib.metadata.version(name) for name in table.MADE_WITH} == table.MADE_WITH


def test_words_of_the_table_are_sets() -> None:
    assert "SQUARED_DIFFERENCE" in QUANTIZABLE["int8"] & FAILING["int16"]
    assert "CONV_2D" in QUANTIZABLE["float32"] & QUANTIZABLE["int8"] & QUANTIZABLE["int16"]
    assert not any(QUANTIZABLE[dtype] & FAILING[dtype] for dtype in QUANTIZABLE)


def test_an_op_with_a_kernel_needs_no_remedy() -> None:
    assert (remedy("SQRT", "int8"), remedy("SQRT", "int16")) == ("", "write x * rsqrt(x)")
    assert remedy("SIN", "int8") == ""


@pytest.mark.slow
def test_command_writes_the_same_table(tmp_path: Path) -> None:
    written = tmp_path / "table.py"
    subprocess.run([sys.executable, "-m", "benchmarks.op_dtypes", str(written)], cwd=ROOT, check=True)
    assert written.read_text() == Path(table.__file__).read_text()
