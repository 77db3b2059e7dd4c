"""`python -m benchmarks [NAME...]`: run all, or those, and print a Markdown page. Ratios count; seconds are today's."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    cache,
    conversion,
    recurrent,
    reproducible,
    small_models,
    startup,
    training,
    transformer,
    zoo,
    zoo_page,
)
from benchmarks.conversion import efficientnet, mobilenet, resnet

BENCHMARKS: dict[str, Callable[[], list[str]]] = {
    "start": lambda: startup.report(runs=9),
    "calibration": lambda: conversion.per_sample(mobilenet(100)),
    "second": lambda: conversion.warm(mobilenet(100), runs=3),
    "mobilenet": lambda: conversion.report(mobilenet(100), runs=3),
    "mobilenet500": lambda: conversion.report(mobilenet(500), runs=1),
    "efficientnet": lambda: conversion.report(efficientnet(100), runs=3),
    "efficientnet500": lambda: conversion.report(efficientnet(500), runs=1),
    "resnet50": lambda: conversion.report(resnet(50), runs=3),
    "zoo": lambda: zoo.report(samples=100),
    "small": lambda: small_models.report(models=60),
    "skip": lambda: zoo.report_of_skipping(recipes=100, runs=5),
    "zoo_page": lambda: zoo_page.report(models=10_000, runs=3),
    "cache": lambda: cache.report(entries=20000, runs=5),
    "recurrent": recurrent.report,
    "transformer": transformer.report,
    "training": training.report,
    "reproducible": lambda: reproducible.report(mobilenet(100)),
}


def main(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    machine = f"{os.cpu_count()} processors ({_processor()}), Python {platform.python_version()}, {platform.machine()}"
    print(f"# Benchmarks\n\n{machine}.\n")
    for name in names or BENCHMARKS:
        print("\n".join(BENCHMARKS[name]()) + "\n", flush=True)


def _processor() -> str:
    """Return the name of the processor, on which the ratios depend, too; empty if Linux does not tell it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main(sys.argv[1:])
