"""Limits of containers, read from folders that are written as Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tflq.batch.local import available_bytes
from tflq.worker import ControlGroups, processors

GB = 10**9
UNLIMITED = 9223372036854771712
"""What version 1 says where memory has no limit."""


def groups(folder: Path, process: str, files: dict[str, str]) -> ControlGroups:
    (folder / "process").write_text(process)
    for name, text in files.items():
        (folder / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "groups" / name).write_text(f"{text}\n")
    return ControlGroups(folder / "groups", folder / "process")


V2, V1 = "0::/\n", "2:cpu,cpuacct:/docker/abc\n1:memory:/docker/abc\n0::/\n"
QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("process", "files", "expected"),
    [
        (V2, {}, None),
        (V2, {"cpu.max": "max 100000"}, None),
        (V2, {"cpu.max": "200000 100000"}, 2),
        (V2, {"cpu.max": "150000 100000"}, 2),
        (V2, {"cpu.max": "5000 100000"}, 1),
        (V2, {"cpu.max": "nonsense"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/elsewhere\n", {"a/cpu.max": "300000 100000"}, None),
        (V1, {f"cpu/{QUOTA}": "250000", f"cpu/{PERIOD}": "100000"}, 3),
        (V1, {f"cpu/{QUOTA}": "-1", f"cpu/{PERIOD}": "100000"}, None),
        (V1, {f"cpu/docker/abc/{QUOTA}": "100000", f"cpu/docker/abc/{PERIOD}": "50000"}, 2),
        (V1, {f"cpu/{QUOTA}": "100000", f"cpu/{PERIOD}": "0"}, None),
    ],
)
def test_a_quota_of_time_is_worth_so_many_processors(
    process: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    assert groups(tmp_path, process, files).processors() == expected


def test_workers_are_no_more_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert processors(groups(tmp_path, V2, {"cpu.max": "200000 100000"})) == 2
    assert processors(groups(tmp_path, V2, {"cpu.max": "max 100000"})) == 64
    assert processors(groups(tmp_path, V2, {"cpu.max": "9000000 100000"})) == 64


@pytest.mark.parametrize(
    ("process", "files", "expected"),
    [
        (V2, {}, None),
        (V2, {"memory.max": "max", "memory.current": "5"}, None),
        (V2, {"memory.max": str(3 * GB), "memory.current": str(GB)}, 2 * GB),
        ("0::/a/b\n", {"a/memory.max": str(3 * GB), "a/memory.current": str(GB)}, 2 * GB),
        (V1, {"memory/memory.limit_in_bytes": str(GB), "memory/memory.usage_in_bytes": "0"}, GB),
        (V1, {"memory/memory.limit_in_bytes": str(GB), "memory/memory.usage_in_bytes": str(2 * GB)}, 0),
    ],
)
def test_memory_that_a_container_has_left(
    process: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    assert groups(tmp_path, process, files).free_bytes() == expected


def test_a_batch_takes_no_more_memory_than_its_container_has(tmp_path: Path) -> None:
    limited = groups(tmp_path, V2, {"memory.max": "3000", "memory.current": "1000"})
    assert available_bytes(limited) == 2000
    files = {"memory/memory.limit_in_bytes": str(UNLIMITED), "memory/memory.usage_in_bytes": "0"}
    assert 0 < available_bytes(groups(tmp_path, V1, files)) < UNLIMITED
