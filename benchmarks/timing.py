"""Time commands as whole processes, side by side."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Command = Sequence[str]


@dataclass(frozen=True)
class PreparedCommand:
    """A command, what must be done before each run of it, and where it says how much memory it took."""

    arguments: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that this command gets beside those of this process."""
    prepare: Callable[[], object] = lambda: None
    """This is called before each run, and is not timed."""
    peak_of_workers: Callable[[], int] = lambda: 0
    """Return the largest memory of the processes that the last run started, in bytes."""


Commands = Mapping[str, Command | PreparedCommand]


@dataclass(frozen=True)
class Timing:
    """Seconds of wall time over several runs, and the most memory that one process took, as far as it is known."""

    seconds: tuple[float, ...]
    peak_rss_bytes: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleaved(commands: Commands, runs: int, warm_up: bool = True) -> dict[str, Timing]:
    """Run the commands in turn, `runs` rounds after one that is not counted, so that noise meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0)
    for counted in range(runs + warm_up):
        for name, command in commands.items():
            taken, peak = run(command if isinstance(command, PreparedCommand) else PreparedCommand(command))
            if counted or not warm_up:
                seconds[name].append(taken)
                peaks[name] = max(peaks[name], peak)
    return {name: Timing(tuple(seconds[name]), peaks[name]) for name in commands}


def run(command: PreparedCommand) -> tuple[float, int]:
    """Run the command to its end; return the seconds and the memory of its largest process in bytes."""
    command.prepare()
    environment = os.environ | command.environment
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled, too
    start = time.perf_counter()
    process = subprocess.Popen(command.arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command.arguments)} ended with {process.returncode}:\n{said.decode()}")
    return seconds, max(usage.ru_maxrss * 1024, command.peak_of_workers())


def rows(timings: Mapping[str, Timing], base: str) -> list[str]:
    """A Markdown table: medians, spread, and the ratio to the base."""
    lines = [f"| | median s | min | max | of {base} | peak MB |", "| --- | --- | --- | --- | --- | --- |"]
    for name, timing in timings.items():
        ratio = timing.median / timings[base].median
        spread = f"{min(timing.seconds):.3f} | {max(timing.seconds):.3f}"
        lines.append(f"| {name} | {timing.median:.3f} | {spread} | {ratio:.2f} | {timing.peak_rss_bytes / 1e6:.0f} |")
    return lines
