"""A program that uses the Python API, for the type checker to read; it never runs."""

from __future__ import annotations

import sys
from pathlib import Path

import tflq


def show(event: tflq.Event) -> None:
    if isinstance(event, tflq.Progress):
        sys.stdout.write(f"{event.stage}: {event.done} of {event.total or '?'} {event.note}\n")
    elif isinstance(event, tflq.Finished):
        sys.stdout.write(f"{event.stage}: {event.seconds:.1f} s\n")


def smallest(result: tflq.Result) -> tflq.Variant | None:
    made = [variant for variant in result.variants if variant.file and variant.status == "ok"]
    return min(made, key=lambda variant: variant.file.size_bytes if variant.file else 0, default=None)


def failed(variant: tflq.Variant) -> list[tflq.Gate]:
    return [gate for gate in variant.gates if not gate.passed]


def main(path: Path) -> int:
    listen: tflq.Listener = show
    try:
        recipe: tflq.Recipe = tflq.load(path, ["calibration.samples=50"])
        result = tflq.convert(recipe, jobs=2, timeout=60.0, cache=False, listen=listen)
    except tflq.RecipeError as error:
        return error.exit_code
    except tflq.TflqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    best = smallest(result)
    if best is None or failed(best):
        return result.exit_code
    return result.exit_code
