"""Mutated recipes, zoos and .tflite files through the command line: each answer should be one that is documented.

`python -m benchmarks.robustness [recipes|zoos|files] [COUNT] [SEED]` prints a table, and examples of each fault.
"""

from __future__ import annotations

import json
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from benchmarks.mutations import damaged, mutated

ROOT = Path(__file__).parent.parent
RECIPES = tuple(
    sorted([*ROOT.glob("tests/recipes/good/*.yaml"), *ROOT.glob("configs/*.yaml"), *ROOT.glob("examples/*/*.yaml")])
)
FILES = tuple(sorted(ROOT.glob("tests/data/*.tflite")))
ZOO = """\
kind: zoo
output: build
defaults:
  mode: int8
  calibration:
    dataset:
      npz: data.npz
    samples: 16
models:
- net
- model: other.keras
  name: second
  mode: float16
- recipe: good.yaml
"""
GOOD = "model: net\nmode: float16\n"

CODES = {0, 2, 3, 4, 5, 6, 7}
"""The exit codes that a damaged input may have."""
SECONDS = 5
MEGABYTES = 1000
OUTPUT = 20_000
"""More characters than this are too much to read."""
CHUNK = 500
"""The number of cases of one child process."""
EXAMPLES = 3
# A message names the recipe or the model; the last is a model that a mutation names and nobody can read.
NAMED = ("net.yaml", "net.tflite", "/proc/self/mem")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Answer:
    """The answer of the command line to one case."""

    case: int
    code: int
    seconds: float
    megabytes: float
    text: str

    @property
    def faults(self) -> Iterator[str]:
        """Yield each thing that a user should not see."""
        if self.code not in CODES:
            yield f"exit code {self.code}"
        if "Traceback" in self.text:
            yield "a traceback"
        if len(self.text) > OUTPUT:
            yield f"more than {OUTPUT:,} characters"
        if CONTROL.search(self.text):
            yield "a control character"
        if self.code and not any(name in self.text for name in NAMED):
            yield "no name of the file"

    @property
    def costs(self) -> Iterator[str]:
        """Yield what the answer took too much of."""
        if self.seconds > SECONDS:
            yield f"more than {SECONDS} s of the processor"
        if self.megabytes > MEGABYTES:
            yield f"more than {MEGABYTES} MB"


def _recipe(draw: random.Random) -> bytes:
    return mutated(draw.choice(RECIPES).read_text(encoding="utf-8"), draw).encode("utf-8", "surrogatepass")


def _zoo(draw: random.Random) -> bytes:
    return mutated(ZOO, draw).encode("utf-8", "surrogatepass")


def _file(draw: random.Random) -> bytes:
    return damaged(draw.choice(FILES).read_bytes(), draw)


@dataclass(frozen=True)
class Kind:
    """A kind of cases: how one is made, the name of its file, and the command line."""

    make: Callable[[random.Random], bytes]
    name: str
    command: tuple[str, ...]


KINDS = {
    "recipes": Kind(_recipe, "net.yaml", ("check", "net.yaml")),
    "zoos": Kind(_zoo, "net.yaml", ("batch", "--dry-run", "net.yaml")),
    "files": Kind(_file, "net.tflite", ("inspect", "net.tflite")),
}


def content(kind: str, seed: int, case: int) -> bytes:
    """Return the input of that case. It depends on nothing but the arguments and the examples of the repository."""
    return KINDS[kind].make(random.Random(f"{kind} {seed} {case}"))


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
            yield Answer(start, child.returncode, 0.0, 0.0, child.stderr)
            start += 1


def _too_long(_: int, __: FrameType | None) -> None:
    raise TimeoutError


def run_cases(kind: str, seed: int, cases: range) -> Iterator[Answer]:
    """Run the cases in this process, in a temporary folder that has the files that a recipe may name."""
    from click.testing import CliRunner

    from tflq.cli import main

    signal.signal(signal.SIGALRM, _too_long)
    runner = CliRunner()
    with runner.isolated_filesystem():
        _write_neighbours(Path())
        runner.invoke(main, KINDS[kind].command, prog_name="tflq")  # imports are no part of the first case
        for case in cases:
            (Path(KINDS[kind].name)).write_bytes(content(kind, seed, case))
            before, start = _megabytes(), time.process_time()
            signal.alarm(4 * SECONDS)
            result = runner.invoke(main, KINDS[kind].command, prog_name="tflq")
            signal.alarm(0)
            seconds = time.process_time() - start
            yield Answer(case, result.exit_code, seconds, _megabytes() - before, result.output)


def _write_neighbours(folder: Path) -> None:
    (folder / "net").mkdir()
    (folder / "net/saved_model.pb").touch()
    (folder / "good.yaml").write_text(GOOD, encoding="utf-8")
    for name in ("net.keras", "other.keras", "data.npz"):
        (folder / name).touch()


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def report(counts: dict[str, int], seed: int) -> list[str]:
    """Return a Markdown table of the faults of each kind, and examples."""
    lines = ["| input | cases | faults | slowest | most memory |", "| --- | --- | --- | --- | --- |"]
    examples: list[str] = []
    for kind, count in counts.items():
        found = list(answers(kind, seed, range(count)))
        faulty = [answer for answer in found if [*answer.faults, *answer.costs]]
        slowest = max(answer.seconds for answer in found)
        most = max(answer.megabytes for answer in found)
        lines.append(f"| {kind} | {len(found):,} | {len(faulty):,} | {slowest:.1f} s | {most:.0f} MB |")
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
