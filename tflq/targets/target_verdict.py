"""The verdict of a target on a file, and how it is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tflq.targets.conditions import short
from tflq.targets.memory_plan import MemoryPlan
from tflq.targets.micro_run import MicroRun
from tflq.targets.op_problem import OpProblem
from tflq.targets.vela import VelaRun

Outcome = Literal["runs whole", "falls back", "does not run", "not known"]
_SHOWN = 3
"""The number of reasons that the line of a verdict gives."""
MIN_SHARE = 0.01
_CPU_RUNTIME = "TensorFlow Lite Micro"
"""The runtime beside an accelerator with a compiler."""
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
"""The ops that convert float inputs and outputs."""


@dataclass(frozen=True)
class TargetVerdict:
    """The verdict of a target on a file."""

    target: str
    outcome: Outcome
    problems: tuple[OpProblem, ...]
    """The ops that the target does not have in this form, in the order of the graph."""
    outside: int
    """The number of ops that run on the CPU beside the target."""
    operators: int
    share: float
    """The share of the multiply-adds in those ops, from 0 to 1."""
    slow: tuple[OpProblem, ...]
    slow_share: float
    not_known: tuple[str, ...]
    """Conditions that are not known to hold, in sentences."""
    flash_bytes: int
    """The size of the file, or of the compiled one. The code of the runtime comes on top."""
    plan: MemoryPlan | None
    source: str
    run: MicroRun | None = None
    """The result in the target's own interpreter on this machine; None if it was not tried."""
    compiled: VelaRun | None = None
    """The result of the target's own compiler; None if it was not called."""
    on_cpu: TargetVerdict | None = None
    """The verdict of the runtime on the CPU, if the compiler refuses the file; else None."""

    @property
    def ram_bytes(self) -> int | None:
        """The memory of activations and variables in one call, on the chip; None if it is not known."""
        if self.on_cpu is not None:
            return self.on_cpu.ram_bytes if self.on_cpu.outcome != "does not run" else None
        if self.compiled is not None:
            return self.compiled.sram_bytes
        return None if self.plan is None else self.plan.activation_bytes + self.plan.variable_bytes

    @property
    def estimated_ms(self) -> float | None:
        """The estimated time of a call without the ops on the CPU; None if the target has no model of time."""
        return None if self.compiled is None else self.compiled.milliseconds

    @property
    def untimed(self) -> str:
        """Why the estimate is not that of a whole call; empty if it is. Conversions of inputs and outputs may lack."""
        others = [problem for problem in self.problems if problem.type not in _CONVERSIONS]
        if self.compiled is None:
            return "its compiler was not called"
        if self.compiled.error:
            return self.compiled.error
        if self.estimated_ms is None:
            return "all ops run on the CPU"
        return f"{self._part(len(self.problems), self.share)} run on the CPU, whose time is not known" if others else ""

    @property
    def in_words(self) -> str:
        """The verdict as one line, without the target's name."""
        if self.compiled is not None and self.on_cpu is not None:
            return "; ".join(self._refused_in_words(self.compiled, self.on_cpu))
        parts = [str(self.outcome)]
        if self.outcome == "falls back":
            parts[0] += f": {self._part(self.outside, self.share)} run on the CPU"
        if self.problems:
            parts[0] += f": {_listed(self.problems)}"
        if self.slow:
            parts.append(f"{self._part(len(self.slow), self.slow_share)} have slow kernels")
        if self.compiled is not None:
            parts.extend(self._compiled_in_words(self.compiled))
        elif self.ram_bytes is not None:
            parts.append(self._sizes(self.ram_bytes))
        if self.run is not None:
            parts.append(self.run.in_words)
        return "; ".join(parts)

    def with_run(self, run: MicroRun) -> TargetVerdict:
        """Return the verdict with what the target's own interpreter did, which has the last word."""
        return replace(self, run=run, outcome="does not run" if run.error else self.outcome)

    def refused(self, run: VelaRun, on_cpu: TargetVerdict) -> TargetVerdict:
        """Return the verdict on a file that the target's own compiler refuses.

        The file itself may run on the CPU beside the accelerator, by the verdict of the runtime there.
        """
        return replace(
            self,
            compiled=run,
            on_cpu=on_cpu,
            outcome="falls back" if on_cpu.outcome == "runs whole" else on_cpu.outcome,
            outside=self.operators,
            share=1.0,
            not_known=on_cpu.not_known,
            source=f"{run.configuration}; on the CPU: {on_cpu.source}",
        )

    def with_compiled(self, run: VelaRun) -> TargetVerdict:
        """Return the verdict with what the target's own compiler made of the file, which has the last word."""
        return replace(
            self,
            compiled=run,
            outcome="falls back" if run.on_cpu else "runs whole",
            problems=run.on_cpu,
            outside=len(run.on_cpu),
            share=run.share,
            not_known=(),
            flash_bytes=run.flash_bytes or self.flash_bytes,
            source=run.configuration,
        )

    def with_size(self, size_bytes: int) -> TargetVerdict:
        """Return the verdict on the file with another size, such as a stripped one. A compiled file keeps its own."""
        is_compiled = self.compiled is not None and not self.compiled.error
        return self if is_compiled else replace(self, flash_bytes=size_bytes)

    def _refused_in_words(self, run: VelaRun, on_cpu: TargetVerdict) -> Iterator[str]:
        yield f"{self.outcome}: {run.error}"
        if self.problems:
            yield f"by its table, the accelerator lacks {_listed(self.problems)}"
        if on_cpu.problems:
            yield f"on the CPU, {_CPU_RUNTIME} lacks {_listed(on_cpu.problems)}"
        else:
            doubt = ", as far as known" if on_cpu.outcome == "not known" else ""
            yield f"on the CPU, {_CPU_RUNTIME} has all {self.operators} ops{doubt}"
        if self.ram_bytes is not None:
            yield self._sizes(self.ram_bytes)

    def _sizes(self, ram_bytes: int) -> str:
        return f"RAM {kilobytes(ram_bytes)}, flash {kilobytes(self.flash_bytes)}, both without the runtime's own"

    def _compiled_in_words(self, run: VelaRun) -> Iterator[str]:
        dram = f", DRAM {kilobytes(run.dram_bytes)}" if run.dram_bytes else ""
        yield f"SRAM {kilobytes(run.sram_bytes or 0)}{dram}, flash {kilobytes(self.flash_bytes)}"
        if run.milliseconds is not None:
            rest = ", without the ops on the CPU" if run.on_cpu else ""
            yield f"an estimated {run.milliseconds:.3g} ms a call{rest}"

    def _part(self, count: int, share: float) -> str:
        return f"{count} of {self.operators} ops with {_percent(share)} of the multiply-adds"


def _percent(share: float) -> str:
    return "less than 1 %" if 0 < share < MIN_SHARE else f"{100 * share:.0f} %"


def kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f} kB"


def _listed(problems: Sequence[OpProblem]) -> str:
    """Return the ops of each type and reason, the first few of them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        groups.setdefault((problem.type, problem.reason), []).append(problem.tensor)
    texts = [
        f"{type_} {short(names[0])!r}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
        for (type_, reason), names in groups.items()
    ]
    more = f"; and {len(texts) - _SHOWN} more reasons" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
