"""Whether the same recipe gives the same files: run twice, and on one processor and on two; byte for byte."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.commands import convert_from_nothing, output
from benchmarks.conversion import CACHE, Work
from benchmarks.timing import run


def report(work: Work) -> list[str]:
    """Each run starts with an empty cache, and is alone."""
    work.make()
    recipe = work.recipe()
    first, second = _hashes(recipe, []), _hashes(recipe, [])
    processors = [str(number) for number in sorted(os.sched_getaffinity(0))[:2]]
    one, two = (_hashes(recipe, ["taskset", "--cpu-list", ",".join(processors[:count])]) for count in (1, 2))
    names = sorted(first.keys() | second.keys() | one.keys() | two.keys())
    lines = ["| file | twice | one processor and two |", "| --- | --- | --- |"]
    lines += [f"| {name} | {_said(first, second, name)} | {_said(one, two, name)} |" for name in names]
    equal = sum(first.get(name) == second.get(name) == one.get(name) == two.get(name) for name in names)
    title = f"## The same files of {work.model}, {work.samples} calibration samples"
    return [title, "", *lines, "", f"{equal} of {len(names)} files are equal in all four runs."]


def _hashes(recipe: Path, before: Sequence[str]) -> dict[str, str]:
    """Convert, and return the hash of each file."""
    command = convert_from_nothing(recipe, CACHE)
    run(replace(command, arguments=[*before, *command.arguments]))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in output(recipe).glob("*.tflite")}


def _said(one: dict[str, str], other: dict[str, str], name: str) -> str:
    return "equal" if one.get(name) == other.get(name) else "not equal"
