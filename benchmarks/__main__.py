"""`python -m benchmarks`: run all, and print a Markdown page. Ratios count; seconds are this machine's, today."""

from __future__ import annotations

import os
import platform

from benchmarks import conversion, startup


def main() -> None:
    print(f"# Benchmarks\n\n{os.cpu_count()} processors, Python {platform.python_version()}, {platform.machine()}.\n")
    for lines in (startup.report(runs=9), conversion.report(runs=3, samples=100)):
        print("\n".join(lines) + "\n", flush=True)


if __name__ == "__main__":
    main()
