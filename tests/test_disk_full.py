"""A full disk, as output, as cache or as folder for temporary files, is named; what was there before stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Recipes, keeping, run_recipe

from tflq.cache import Store
from tflq.errors import ConversionError
from tflq.worker.disk import disk_full_error

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB. Only root can mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tflq-test", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this test needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


FULL = "no space is left on a disk: free some space, choose another output folder, or set TMPDIR and TFLQ_CACHE_DIR"


def test_the_output_is_on_a_full_disk(recipes: Recipes, small_disk: Path) -> None:
    recipe = recipes.write("tiny_conv", ["float16"], output=str(small_disk / "out"))
    with pytest.raises(ConversionError, match=FULL):
        run_recipe(recipe)
    assert not list(small_disk.rglob("*.tflite"))
    assert not list(small_disk.rglob(".work-*"))


def test_the_cache_is_on_a_full_disk(recipes: Recipes, small_disk: Path) -> None:
    ran = keeping(recipes.write("tiny_conv", ["int8"]), Store(small_disk / "cache", 10**9))
    assert ran.codes == {"int8": 0}
    assert any("nothing could be saved in the cache" in warning for warning in ran.result.warnings)
    assert not list((small_disk / "cache").glob("model-*"))


def test_the_cause_may_be_hidden_in_another_error() -> None:
    error = RuntimeError("the export failed")
    error.__cause__ = OSError(28, "No space left on device")
    assert FULL in str(disk_full_error(error, "read the source"))
    assert disk_full_error(RuntimeError("other"), "read the source") is None
