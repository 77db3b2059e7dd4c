"""Convert the digits example from Python, show the progress, and print the smallest file that keeps the accuracy.

From the root, after `python -m examples.digits.train`: python -m examples.api
"""

from __future__ import annotations

import sys
from pathlib import Path

import tflq

RECIPE = Path(__file__).parent / "digits/recipe.yaml"
OVERRIDES = ["variants=[float32, dynamic, int8]", "output=build/api"]


def main() -> int:
    """Convert three variants; the exit code is that of `tflq convert`."""
    recipe = tflq.load(RECIPE, OVERRIDES)
    try:
        result = tflq.convert(recipe, jobs=2, timeout=600, listen=show)
    except tflq.TflqError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for variant in result.variants:
        print(f"{variant.name:<8} {variant.status:<6} {size(variant):>7} bytes  top1 drop {drop(variant):+.4f}")
    passed = [variant for variant in result.variants if variant.status == "ok"]
    if passed:
        print(f"ship {min(passed, key=size).name}, from {recipe.output}")
    return result.exit_code


def show(event: tflq.Event) -> None:
    """Print each stage when it ends."""
    if isinstance(event, tflq.Finished):
        print(f"{event.stage}: {'failed' if event.failed else 'done'}")


def size(variant: tflq.Variant) -> int:
    return variant.file.size_bytes if variant.file else 0


def drop(variant: tflq.Variant) -> float:
    """What the variant loses in top-1 accuracy against the float32 file."""
    metric = variant.measured.metric if variant.measured else None
    return metric.drop if metric else float("nan")


if __name__ == "__main__":
    sys.exit(main())
