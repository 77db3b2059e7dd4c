"""Run a file in TensorFlow Lite Micro's own interpreter, if the wheel tflite-micro is installed.

That a file runs there is no proof: it may answer wrongly without a word. So its outputs are compared with those of
LiteRT's reference kernels.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import numpy as np

from tflq.flatbuffer import read
from tflq.interpreter import reference_outputs

EXTRA = "tflq[micro]"
"""The command that installs the interpreter."""
_ARENA = 8_000_000
"""Bytes of memory beyond the planned ones, for kernels that ask for more."""
_STANDARD_ERROR = 2
MAX_STEPS = 2
"""Outputs that differ by so few steps are rounded otherwise."""
MAX_ERROR = 0.1
"""The root mean square of the difference that is still an answer, as a share of the outputs' standard deviation."""


@dataclass(frozen=True)
class MicroRun:
    """The result of running a file in TensorFlow Lite Micro on this machine."""

    calls: int
    arena_bytes: int | None = None
    """The memory that it used on a processor with 64 bits; None if it could not run the file."""
    largest_difference: float | None = None
    """The largest difference of an output from LiteRT's reference kernels: in steps of integers, or as it is."""
    error: str = ""
    """Why it cannot run the file, or that it answers wrongly; empty if all is well."""

    @property
    def in_words(self) -> str:
        if self.error:
            return self.error
        difference = f"differ by at most {self.largest_difference:.3g}" if self.largest_difference else "are equal"
        return (
            f"run here in an arena of {(self.arena_bytes or 0) / 1000:,.1f} kB on 64 bits; on {self.calls} calls, its"
            f" outputs and those of LiteRT's reference kernels {difference}"
        )


def run_micro(content: bytes, calls: Sequence[Sequence[np.ndarray]], planned: int) -> MicroRun:
    """Run the file on the inputs of a few calls, in the dtypes and in the order of the file.

    `planned` is the planned memory in bytes. EvaluationError if LiteRT cannot run the file.
    """
    from tflite_micro import runtime

    outputs, count = list[list[np.ndarray]](), len(read(content).subgraphs[0].outputs)
    with _captured() as printed:
        error = ""
        try:
            interpreter = runtime.Interpreter.from_bytes(content, arena_size=planned + _ARENA)
            for arrays in calls:
                interpreter.reset()
                for place, array in enumerate(arrays):
                    interpreter.set_input(array, place)
                interpreter.invoke()
                outputs.append([np.array(interpreter.get_output(place)) for place in range(count)])
            interpreter.print_allocations()
        except (RuntimeError, ValueError) as raised:
            error = str(raised)
        printed.seek(0)
        text = printed.read()
    if error:
        return MicroRun(len(calls), error=f"TensorFlow Lite Micro cannot run it: {_reason(text) or error}")
    expected = reference_outputs(content, calls).calls
    arena = re.search(r"Arena allocation total (\d+)", text)
    return _compared(outputs, expected, int(arena[1]) if arena else None)


def _compared(
    outputs: Sequence[Sequence[np.ndarray]], expected: Sequence[Sequence[np.ndarray]], arena: int | None
) -> MicroRun:
    largest, error = 0.0, ""
    for place in range(len(expected[0])):
        ours, theirs = (np.stack([call[place] for call in side]).astype(np.float64) for side in (outputs, expected))
        difference = np.abs(ours - theirs)
        worst = float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")
        is_integer = expected[0][place].dtype.kind in "iu"
        is_far = worst > (MAX_STEPS if is_integer else 0) and not np.sqrt(np.mean(difference**2)) <= (
            MAX_ERROR * theirs.std()
        )
        largest = max(largest, worst)
        if is_far:
            unit = " steps" if is_integer else ""
            error = (
                "it runs in TensorFlow Lite Micro, but answers wrongly without a word: output"
                f" {place} differs from LiteRT's reference kernels by up to {worst:.3g}{unit}"
            )
    return MicroRun(len(expected), arena, largest, error)


def _reason(text: str) -> str:
    """Return the lines in which the interpreter says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "RecordingMicro" not in line]
    return "; ".join(lines[:3])[:300]


@contextmanager
def _captured() -> Iterator[IO[str]]:
    """Send what native code writes to standard error into a file inside the context."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        kept = os.dup(_STANDARD_ERROR)
        try:
            os.dup2(file.fileno(), _STANDARD_ERROR)
            yield file
        finally:
            with suppress(OSError):
                os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)
