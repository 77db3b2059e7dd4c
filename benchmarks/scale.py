"""A batch of many recipes of a tiny model, without latency: memory of the supervising process, and time of a plan.

`python -m benchmarks.scale [--recipes N] [--planned N]` prints tables. The memory is read whenever a model ends. What
a thousand and ten thousand models would take is the last value and the slope of a line through the second half of the
values: in the first half, modules are still imported and tables grow to their size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "tests/data"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
EXTRAPOLATED = (1_000, 10_000)


def batch_of(folder: Path, recipes: int) -> Path:
    """Write a zoo of so many recipes of one model, which extend one base, and return its path."""
    shutil.copytree(DATA / "net", folder / "net")
    (folder / "base.yaml").write_text("variants: [float16]\nlatency: off\n", encoding="utf-8")
    (folder / "recipes").mkdir()
    for number in range(recipes):
        text = "extends: ../base.yaml\nmodel: ../net\n"
        (folder / f"recipes/net{number:05}.yaml").write_text(text, encoding="utf-8")
    zoo = folder / "zoo.yaml"
    zoo.write_text('kind: zoo\nmodels: ["recipes/*.yaml"]\n', encoding="utf-8")
    return zoo


def command(zoo: Path, *options: str) -> Sequence[str]:
    return [sys.executable, "-m", "tflq", "batch", str(zoo), *options]


def memory_of_models(zoo: Path) -> tuple[list[float], float]:
    """Run the batch. Return the resident megabytes of its first process after each model, and the seconds in all."""
    started, memory = time.monotonic(), []
    environment = os.environ | {"TFLQ_CACHE_DIR": str(zoo.parent / "cache")}
    arguments = command(zoo, "--format", "json")
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ended":
                if event["state"] != "made":
                    raise SystemExit(f"{event['model']}: {event['state']}: {event['why']}")
                pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
                memory.append(pages * PAGE_BYTES / 1e6)
    return memory, time.monotonic() - started


def report_of_making(recipes: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        memory, seconds = memory_of_models(batch_of(Path(folder), recipes))
    half = memory[len(memory) // 2 :]
    slope = float(np.polyfit(range(len(half)), half, 1)[0]) if len(half) > 1 else 0.0
    quarters = [memory[0], *(memory[(len(memory) - 1) * part // 4] for part in (1, 2, 3, 4))]
    values = " | ".join(f"{each:.1f} MB" for each in quarters)
    lines = [
        f"## A batch of {recipes:,} recipes of a tiny model, one variant each",
        "",
        f"Memory of the first process; {seconds / recipes:.2f} s for each model, {os.cpu_count()} at a time.",
        "",
        "| after the first | a quarter | a half | three quarters | the last | each model of the second half adds |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| {values} | {slope * 1000:.0f} kB |",
        "",
    ]
    for count in EXTRAPOLATED:
        expected = memory[-1] + max(slope, 0.0) * (count - recipes)
        hours = seconds / recipes * count / 3600
        lines.append(f"- {count:,} recipes would take {expected:.0f} MB and {hours:.1f} hours, by that slope.")
    return lines


def report_of_planning(recipes: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        zoo = batch_of(Path(folder), recipes)
        started = time.monotonic()
        subprocess.run(command(zoo, "--dry-run"), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [
        f"## The plan of a zoo of {recipes:,} recipes, all to be made",
        "",
        "| time of the processor | by the clock | most memory |",
        "| --- | --- | --- |",
        f"| {used.ru_utime + used.ru_stime:.1f} s | {seconds:.1f} s | {used.ru_maxrss / 1000:.0f} MB |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", type=int, default=100)
    parser.add_argument("--planned", type=int, default=10_000)
    arguments = parser.parse_args()
    if arguments.planned:
        print("\n".join(report_of_planning(arguments.planned)) + "\n", flush=True)
    if arguments.recipes:
        print("\n".join(report_of_making(arguments.recipes)))


if __name__ == "__main__":
    main()
