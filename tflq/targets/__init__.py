"""Targets: whether a file runs on a runtime or an accelerator, and how much memory it needs there."""

from tflq.targets.arena import arena_bytes
from tflq.targets.memory_plan import MemoryPlan, PlannedTensor, memory_plan
from tflq.targets.micro_run import EXTRA, MicroRun, has_micro, run_micro
from tflq.targets.schema import OpRule, Target
from tflq.targets.shipped import load, shipped
from tflq.targets.verdict import OpProblem, TargetVerdict, file_verdicts, kilobytes, verdicts

__all__ = [
    "EXTRA",
    "MemoryPlan",
    "MicroRun",
    "OpProblem",
    "OpRule",
    "PlannedTensor",
    "Target",
    "TargetVerdict",
    "arena_bytes",
    "file_verdicts",
    "has_micro",
    "kilobytes",
    "load",
    "memory_plan",
    "run_micro",
    "shipped",
    "verdicts",
]
