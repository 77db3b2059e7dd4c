"""`python -m benchmarks [NAME...]`: run all, or those, and print a Markdown page.

Ratios count; seconds are this machine's, today.
"""

from __future__ import annotations

import os
import platform
import sys

from benchmarks import conversion, startup

PARTS = {
    "startup": lambda: startup.report(runs=9),
    "calibration": conversion.per_sample,
    "warm": lambda: conversion.warm(runs=3, samples=100),
    "conversion": lambda: conversion.report(runs=3, samples=100),
    "conversion500": lambda: conversion.report(runs=0, samples=500),
}


def main(names: list[str]) -> None:
    print(f"# Benchmarks\n\n{os.cpu_count()} processors, Python {platform.python_version()}, {platform.machine()}.\n")
    for name in names or PARTS:
        print("\n".join(PARTS[name]()) + "\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
