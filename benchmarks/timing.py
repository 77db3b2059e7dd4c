"""Time commands as whole processes, side by side."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Command = Sequence[str]


@dataclass(frozen=True)
class Timing:
    """Seconds of wall time over several runs, and the most memory that the command's own process took."""

    seconds: tuple[float, ...]
    peak_rss_bytes: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleaved(commands: Mapping[str, Command], runs: int, warm_up: bool = True) -> dict[str, Timing]:
    """Run the commands in turn, `runs` rounds after one that is not counted, so that noise meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0)
    for counted in range(runs + warm_up):
        for name, command in commands.items():
            start = time.perf_counter()
            peak = _peak_of(command)
            if counted or not warm_up:
                seconds[name].append(time.perf_counter() - start)
                peaks[name] = max(peaks[name], peak)
    return {name: Timing(tuple(seconds[name]), peaks[name]) for name in commands}


def _peak_of(command: Command) -> int:
    """Run the command to its end; the peak memory of its process, those that it starts left out."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said.decode()}")
    return usage.ru_maxrss * 1024


def rows(timings: Mapping[str, Timing], base: str) -> list[str]:
    """A Markdown table: medians, spread, and the ratio to the base."""
    lines = ["| | median s | min | max | of the first | peak MB |", "| --- | --- | --- | --- | --- | --- |"]
    for name, timing in timings.items():
        ratio = timing.median / timings[base].median
        spread = f"{min(timing.seconds):.3f} | {max(timing.seconds):.3f}"
        lines.append(f"| {name} | {timing.median:.3f} | {spread} | {ratio:.2f} | {timing.peak_rss_bytes / 1e6:.0f} |")
    return lines
