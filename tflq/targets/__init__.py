"""Targets: whether a file runs on a runtime or an accelerator, and how much memory it needs there."""

from tflq.targets.arena import arena_bytes
from tflq.targets.memory_plan import MemoryPlan, PlannedTensor, memory_plan
from tflq.targets.micro_run import EXTRA, MicroRun, has_micro, run_micro
from tflq.targets.op_problem import OpProblem
from tflq.targets.schema import OpRule, Target
from tflq.targets.shipped import load, shipped
from tflq.targets.target_verdict import TargetVerdict, kilobytes
from tflq.targets.tools import tool_versions
from tflq.targets.vela import VELA_EXTRA, VelaRun, run_vela, vela_command, vela_version
from tflq.targets.verdict import file_verdicts, verdicts

__all__ = [
    "EXTRA",
    "VELA_EXTRA",
    "MemoryPlan",
    "MicroRun",
    "OpProblem",
    "OpRule",
    "PlannedTensor",
    "Target",
    "TargetVerdict",
    "VelaRun",
    "arena_bytes",
    "file_verdicts",
    "has_micro",
    "kilobytes",
    "load",
    "memory_plan",
    "run_micro",
    "run_vela",
    "shipped",
    "tool_versions",
    "vela_command",
    "vela_version",
    "verdicts",
]
