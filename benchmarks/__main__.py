"""`python -m benchmarks [NAME...]`: run all, or those, and print a Markdown page. Ratios count; seconds are today's."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence

from benchmarks import conversion, small_models, startup, zoo

BENCHMARKS: dict[str, Callable[[], list[str]]] = {
    "start": lambda: startup.report(runs=9),
    "calibration": conversion.per_sample,
    "second": lambda: conversion.warm(runs=3, samples=100),
    "conversion": lambda: conversion.report(runs=3, samples=100),
    "conversion500": lambda: conversion.report(runs=1, samples=500),
    "zoo": lambda: zoo.report(samples=100),
    "small": lambda: small_models.report(models=60),
    "skip": lambda: zoo.report_of_skipping(recipes=100, runs=5),
}


def main(names: Sequence[str]) -> None:
    print(f"# Benchmarks\n\n{os.cpu_count()} processors, Python {platform.python_version()}, {platform.machine()}.\n")
    for name in names or BENCHMARKS:
        print("\n".join(BENCHMARKS[name]()) + "\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
