"""The verdicts of targets on a file: as data for JSON, and as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tflq.targets.schema import Target
from tflq.targets.target_verdict import TargetVerdict


def to_dict(verdict: TargetVerdict) -> dict[str, Any]:
    """Return the verdict for JSON. Sizes are in bytes, and shares are from 0 to 1."""
    plan = verdict.plan
    return {
        "target": verdict.target,
        "outcome": verdict.outcome,
        "in_words": verdict.in_words,
        "ops": verdict.operators,
        "ops_on_cpu": verdict.outside,
        "share_on_cpu": verdict.share,
        "problems": [asdict(problem) for problem in verdict.problems],
        "slow_ops": len(verdict.slow),
        "slow_share": verdict.slow_share,
        "not_known": list(verdict.not_known),
        "ram_bytes": verdict.ram_bytes,
        "activation_bytes": plan.activation_bytes if plan else None,
        "variable_bytes": plan.variable_bytes if plan else None,
        "dram_bytes": verdict.compiled.dram_bytes if verdict.compiled and not verdict.compiled.error else None,
        "flash_bytes": verdict.flash_bytes,
        "estimated_ms": verdict.estimated_ms,
        "cycles": verdict.compiled.cycles if verdict.compiled else None,
        "compiler_error": verdict.compiled.error or None if verdict.compiled else None,
        "problems_on_cpu": [asdict(problem) for problem in verdict.on_cpu.problems] if verdict.on_cpu else None,
        "run": asdict(verdict.run) if verdict.run else None,
        "source": verdict.source,
    }


def lines(verdicts: Sequence[TargetVerdict]) -> Iterator[str]:
    """Yield a line for each verdict, followed by what is not known."""
    for verdict in verdicts:
        yield f"{verdict.target}: {verdict.in_words}"
        yield from (f"    not known: {sentence}" for sentence in verdict.not_known)


def described(target: Target) -> dict[str, Any]:
    """Return what a target is, for a list of targets."""
    return {
        "name": target.name,
        "also": list(target.also),
        "title": target.title,
        "otherwise": target.otherwise,
        "ops": len(target.ops) or None,
        "source": target.source,
        "date": target.date,
    }
