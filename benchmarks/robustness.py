"""Damaged inputs of every kind through the command line: each answer should be one that is documented.

`python -m benchmarks.robustness [KIND...] [COUNT] [SEED]` prints a table, and examples of each fault. The kinds are
those of damaged_inputs.py; the default is 1000 cases of each.

The cases of a kind run in child processes, one after another. Time is that of the processor: of the child, and of its
worker processes, which are forked from one that has imported TensorFlow before. Memory is what a case adds to the
child, and what a worker has of its own.
"""

from __future__ import annotations

import json
import multiprocessing.forkserver
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import psutil
from typing_extensions import Self

from benchmarks.damaged_inputs import KINDS, ROOT, write_case

SECONDS = 5
MEGABYTES = 1000
PATIENCE = 300
"""A case that takes more seconds than this by the clock is ended. It waits for something."""
OUTPUT = 20_000
"""More characters than this are too much to read."""
CHUNK = 500
"""The number of cases of one child process."""
EXAMPLES = 3
LOOK_SECONDS = 0.05
PYTHONS = re.compile(r"\b[A-Z]\w*(Error|Exception)\b")
"""The name of an exception, which says nothing to a user."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Answer:
    """The answer of the command line to one case."""

    kind: str
    case: int
    code: int
    seconds: float
    megabytes: float
    text: str

    @property
    def faults(self) -> Iterator[str]:
        """Yield each thing that a user should not see."""
        if self.code not in KINDS[self.kind].codes:
            yield f"exit code {self.code}"
        if "Traceback" in self.text:
            yield "a traceback"
        elif PYTHONS.search(self.text):
            yield "the name of an exception"
        if len(self.text) > OUTPUT:
            yield f"more than {OUTPUT:,} characters"
        if CONTROL.search(self.text):
            yield "a control character"
        if self.code and not any(name in self.text for name in KINDS[self.kind].names):
            yield "no name of the file"

    @property
    def costs(self) -> Iterator[str]:
        """Yield what the answer took too much of."""
        if self.seconds > SECONDS:
            yield f"more than {SECONDS} s of the processor"
        if self.megabytes > MEGABYTES:
            yield f"more than {MEGABYTES} MB"


def answers(kind: str, seed: int, cases: range) -> Iterator[Answer]:
    """Run the cases in child processes. A child that dies gives its case the exit code of its signal."""
    start = cases.start
    while start < cases.stop:
        stop = min(start + CHUNK, cases.stop)
        arguments = [sys.executable, "-m", "benchmarks.robustness", "child", kind, str(seed), str(start), str(stop)]
        child = subprocess.run(arguments, check=False, capture_output=True, text=True, cwd=ROOT)
        found = [Answer(**json.loads(line)) for line in child.stdout.splitlines()]
        yield from found
        start += len(found)
        if start < stop:
            yield Answer(kind, start, child.returncode, 0.0, 0.0, child.stderr)
            start += 1


def _too_long(_: int, __: FrameType | None) -> None:
    raise TimeoutError


def run_cases(kind: str, seed: int, cases: range) -> Iterator[Answer]:
    """Run the cases in this process, in a temporary folder that has the files that they need."""
    from click.testing import CliRunner

    from tflq.cli import main
    from tflq.worker import preload_tensorflow

    if KINDS[kind].has_workers:
        preload_tensorflow()
    signal.signal(signal.SIGALRM, _too_long)
    command = KINDS[kind].command
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        runner = CliRunner(env={"TFLQ_CACHE_DIR": f"{folder}/cache"})
        KINDS[kind].prepare()
        for case in (-1, *cases):  # the imports are part of the first case, which is not counted
            write_case(kind, seed, case)
            with Costs() as costs:
                signal.alarm(PATIENCE if case >= 0 else 0)
                result = runner.invoke(main, command, prog_name="tflq")
                signal.alarm(0)
            if case >= 0:
                yield Answer(kind, case, result.exit_code, costs.seconds, costs.megabytes, result.output)


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Costs:
    """The time and the memory of this process and of the workers of the fork server, inside a context."""

    seconds = 0.0
    megabytes = 0.0

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._seconds, self._megabytes = time.process_time() + _worker_seconds(), _megabytes()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.seconds = time.process_time() + _worker_seconds() - self._seconds
        self.megabytes = max(self.megabytes, _megabytes() - self._megabytes)

    def _look(self) -> None:
        """Look at the memory of the workers until the context is left."""
        while not self._ended.wait(LOOK_SECONDS):
            for worker in _workers():
                with suppress(psutil.Error):
                    memory = worker.memory_info()
                    self.megabytes = max(self.megabytes, (memory.rss - memory.shared) / 1e6)


def _fork_server() -> psutil.Process | None:
    process = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return psutil.Process(process) if process else None


def _workers() -> list[psutil.Process]:
    server = _fork_server()
    return server.children() if server else []


def _worker_seconds() -> float:
    """Return the processor time of the workers that have ended."""
    server = _fork_server()
    if server is None:
        return 0.0
    times = server.cpu_times()
    return float(times.children_user + times.children_system)


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def report(counts: dict[str, int], seed: int) -> list[str]:
    """Return a Markdown table of the faults of each kind, and examples."""
    lines = ["| input | command | cases | faults | slowest | most memory |", "| --- | --- | --- | --- | --- | --- |"]
    examples: list[str] = []
    for kind, count in counts.items():
        found = list(answers(kind, seed, range(count)))
        faulty = [answer for answer in found if [*answer.faults, *answer.costs]]
        slowest = max(answer.seconds for answer in found)
        most = max(answer.megabytes for answer in found)
        command = " ".join(KINDS[kind].command[:-1])
        lines.append(f"| {kind} | {command} | {len(found):,} | {len(faulty):,} | {slowest:.1f} s | {most:.0f} MB |")
        examples += _examples(kind, faulty)
    return [*lines, "", *examples]


def _examples(kind: str, faulty: Sequence[Answer]) -> Iterator[str]:
    by_fault: dict[str, list[Answer]] = {}
    for answer in faulty:
        for fault in (*answer.faults, *answer.costs):
            by_fault.setdefault(fault, []).append(answer)
    for fault, those in by_fault.items():
        yield f"- {kind}: {fault}: {len(those):,}"
        yield from (f"  - case {answer.case}: {answer.text[-300:]!r}" for answer in those[:EXAMPLES])


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["child"]:
        kind, seed, start, stop = arguments[1], *map(int, arguments[2:])
        for answer in run_cases(kind, seed, range(start, stop)):
            print(json.dumps(asdict(answer)), flush=True)
        return
    kinds = [argument for argument in arguments if argument in KINDS] or list(KINDS)
    numbers = [int(argument) for argument in arguments if argument.isdecimal()]
    count, seed = (*numbers, *(1000, 0)[len(numbers) :])
    print("\n".join(report(dict.fromkeys(kinds, count), seed)))


if __name__ == "__main__":
    main(sys.argv[1:])
