"""Planned memory of files beside that of TensorFlow Lite Micro's own interpreter, the wheel tflite-micro.

`python -m benchmarks.memory FILE.tflite... [--smallest N]`. The head of the arena is what the interpreter plans for
activations, and the tail has its structures and variables. For the first N files, bisection finds the smallest arena in
which the interpreter allocates all tensors, in steps of 16 bytes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tflq import flatbuffer
from tflq.targets.arena import arena_bytes
from tflq.targets.memory_plan import memory_plan

SPARE = 16_000_000
"""The bytes of the arena beyond the planned ones."""
STEP = 16
COLUMNS = ("file", "planned", "head", "planned arena", "total", "smallest that works")


def main(arguments: Sequence[str]) -> int:
    """Print a row for each file, and return 1 if the plan of one is not right."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tflite")
    parser.add_argument("--smallest", type=int, default=0, metavar="N")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        _measure(given.files[0].read_bytes(), given.smallest)
        return 0
    print(f"| {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * (len(COLUMNS) - 1)}")
    rows = [_row(path, place < given.smallest) for place, path in enumerate(given.files)]
    ran = [row for row in rows if row is not None]
    equal, enough = (sum(column) for column in zip(*ran, strict=True)) if ran else (0, 0)
    print(f"\nOf {len(rows)} files, the interpreter takes {len(ran)}.")
    print(f"Planned memory is the head to the byte in {equal} of them. The planned arena holds the total in {enough}.")
    return 0 if equal == enough == len(ran) else 1


def _row(path: Path, finds_smallest: bool) -> tuple[bool, bool] | None:
    """Print the row of the file. Return whether the plan is the head, and whether the total fits the planned arena.

    Return None if the interpreter does not take the file.
    """
    content = path.read_bytes()
    graph, options = flatbuffer.read(content), flatbuffer.operator_options(content)
    plan = memory_plan(graph, options)
    arena = arena_bytes(graph, options, plan)
    # TensorFlow Lite Micro may end the process.
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        str(path),
        "--measure",
        f"--smallest={arena * finds_smallest}",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [re.search(rf"Arena allocation {name} (\d+) bytes", ran.stderr) for name in ("head", "total")]
    if ran.returncode or None in told:
        reason = re.search(r"^(?:Didn't find op|Failed to get|.*not supported|.*Error).*$", ran.stderr, re.MULTILINE)
        print(
            f"| {path.stem} | {plan.activation_bytes:,} | {reason[0] if reason else 'refused'} | {arena:,} | | |",
            flush=True,
        )
        return None
    head, total = (int(match[1]) for match in told if match)
    smallest = f"{int(ran.stdout):,}" if finds_smallest else ""
    print(f"| {path.stem} | {plan.activation_bytes:,} | {head:,} | {arena:,} | {total:,} | {smallest} |", flush=True)
    return head == plan.activation_bytes, total <= arena


def _measure(content: bytes, enough: int) -> None:
    """Let the interpreter print its allocations. Print the smallest arena up to `enough`, if that is not 0."""
    from tflite_micro import runtime

    planned = memory_plan(flatbuffer.read(content), flatbuffer.operator_options(content)).activation_bytes
    runtime.Interpreter.from_bytes(content, arena_size=planned + SPARE).print_allocations()
    if enough:
        print(_smallest(content, enough))


def _smallest(content: bytes, enough: int) -> int:
    from tflite_micro import runtime

    too_small, works = 0, enough // STEP
    while works - too_small > 1:
        middle = (too_small + works) // 2
        try:
            runtime.Interpreter.from_bytes(content, arena_size=STEP * middle)
            works = middle
        except RuntimeError:
            too_small = middle
    return STEP * works


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
