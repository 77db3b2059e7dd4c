"""The verdict of a target on a file: it runs whole, in part, or not at all, with the reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tflq import flatbuffer
from tflq.cost_model import operator_multiply_adds
from tflq.errors import EvaluationError
from tflq.flatbuffer import Graph, Operator, Subgraph
from tflq.targets.conditions import broken_by, broken_rule, short
from tflq.targets.memory_plan import MemoryPlan, memory_plan
from tflq.targets.micro_run import MicroRun
from tflq.targets.schema import OpRule, Target

Outcome = Literal["runs whole", "falls back", "does not run", "not known"]
_SHOWN = 3
"""The number of reasons that the line of a verdict gives."""
MIN_SHARE = 0.01


@dataclass(frozen=True)
class OpProblem:
    """An op, and why the target does not have it, or has it in a slow kernel only."""

    type: str
    tensor: str
    reason: str


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
    """The size of the file. The code of the runtime comes on top."""
    plan: MemoryPlan | None
    source: str
    run: MicroRun | None = None
    """The result in the target's own interpreter on this machine; None if it was not tried."""

    @property
    def ram_bytes(self) -> int | None:
        """The planned memory of activations and variables; None if the target's memory is not planned."""
        return None if self.plan is None else self.plan.activation_bytes + self.plan.variable_bytes

    @property
    def in_words(self) -> str:
        """The verdict as one line, without the target's name."""
        parts = [str(self.outcome)]
        if self.outcome == "falls back":
            parts[0] += f": {self._part(self.outside, self.share)} run on the CPU"
        if self.problems:
            parts[0] += f": {_listed(self.problems)}"
        if self.slow:
            parts.append(f"{self._part(len(self.slow), self.slow_share)} have slow kernels")
        if self.ram_bytes is not None:
            sizes = f"RAM {kilobytes(self.ram_bytes)}, flash {kilobytes(self.flash_bytes)}"
            parts.append(f"{sizes}, both without the runtime's own")
        if self.run is not None:
            parts.append(self.run.in_words)
        return "; ".join(parts)

    def with_run(self, run: MicroRun) -> TargetVerdict:
        """Return the verdict with what the target's own interpreter did, which has the last word."""
        return replace(self, run=run, outcome="does not run" if run.error else self.outcome)

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


def file_verdicts(path: Path, targets: Sequence[Target]) -> tuple[TargetVerdict, ...]:
    """Return the verdict of each target on the file. EvaluationError, with the path, if it is no .tflite file."""
    data = path.read_bytes()
    try:
        return verdicts(data, targets)
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


def verdicts(data: bytes, targets: Sequence[Target]) -> tuple[TargetVerdict, ...]:
    """Return the verdict of each target on the bytes of a file."""
    graph, options = flatbuffer.read(data), flatbuffer.operator_options(data)
    return tuple(_verdict(graph, options, target) for target in targets)


def _verdict(graph: Graph, options: tuple[tuple[Mapping[str, Any], ...], ...], target: Target) -> TargetVerdict:
    places = list(graph.operators())
    work = [operator_multiply_adds(*place) for place in places]
    problems, slow = dict[int, OpProblem](), dict[int, OpProblem]()
    for number, (subgraph, operator) in enumerate(places):
        own = {_snake(key): value for key, value in options[subgraph.index][operator.index].items()}
        reasons = list(_reasons(graph, subgraph, operator, target, own))
        if reasons:
            problems[number] = _problem(subgraph, operator, "; ".join(reasons))
        elif decisive := _slow_dtype(subgraph, operator, target):
            slow[number] = _problem(subgraph, operator, f"{decisive} runs in a kernel without vector instructions")
    outside = _outside(places, problems, target)
    not_known = _not_known(places, target)
    return TargetVerdict(
        target=target.name,
        outcome=_outcome(target, problems, places),
        problems=tuple(problems.values()),
        outside=len(outside),
        operators=len(places),
        share=_share(outside, work),
        slow=tuple(slow.values()),
        slow_share=_share(list(slow), work),
        not_known=tuple(not_known),
        flash_bytes=graph.size_bytes,
        plan=memory_plan(graph, options) if target.memory == "tflm" else None,
        source=f"{target.source}, {target.date}",
    )


def _outcome(target: Target, problems: Mapping[int, OpProblem], places: Sequence[tuple[Subgraph, Operator]]) -> Outcome:
    if problems:
        return "does not run" if target.otherwise == "does not run" else "falls back"
    return "not known" if any(operator.type in target.not_known for _, operator in places) else "runs whole"


def _reasons(
    graph: Graph, subgraph: Subgraph, operator: Operator, target: Target, options: Mapping[str, Any]
) -> Iterator[str]:
    if operator.type in target.not_known and operator.type not in target.ops:
        return
    rule = target.ops.get(operator.type)
    if operator.is_custom and rule is None:
        yield "a custom op, which the target does not have"
    elif rule is None and not target.built_in:
        yield "the target does not have this op"
    else:
        if operator.type not in target.exempt:
            every = target.every.model_copy(update={"input": rule.input if rule else 0})
            yield from broken_rule(subgraph, operator, every, options)
        yield from broken_rule(subgraph, operator, rule or OpRule(), options)
    yield from broken_by(graph, subgraph, operator, target)


def _slow_dtype(subgraph: Subgraph, operator: Operator, target: Target) -> str | None:
    slow = (*target.every.slow, *target.ops.get(operator.type, OpRule()).slow)
    used = (*subgraph.read_by(operator), *subgraph.written_by(operator))
    computed = (tensor for tensor in used if not (tensor.is_constant or tensor.is_variable))
    return next((tensor.dtype for tensor in computed if tensor.dtype in slow), None)


def _outside(
    places: Sequence[tuple[Subgraph, Operator]], problems: Mapping[int, OpProblem], target: Target
) -> list[int]:
    """Return the numbers of the ops that run on the CPU."""
    if target.otherwise != "ends the partition":
        return list(problems)
    start = 0
    while start < len(places) and start in problems and places[start][1].type in target.leading:
        start += 1
    end = min((number for number in problems if number >= start), default=len(places))
    return [*range(start), *range(end, len(places))]


def _not_known(places: Sequence[tuple[Subgraph, Operator]], target: Target) -> Iterator[str]:
    yield from target.not_checked
    tensors = (tensor for subgraph, operator in places for tensor in subgraph.read_by(operator))
    if target.open_sizes == "as 1" and any(-1 in tensor.shape_signature for tensor in tensors):
        yield "Sizes that may change, such as the batch: this runtime takes each as 1."
    for type_ in dict.fromkeys(operator.type for _, operator in places):
        condition = target.ops.get(type_, OpRule()).not_checked
        if condition:
            yield f"{type_}: {condition}"
        elif type_ in target.not_known and type_ not in target.ops:
            yield f"{type_}: {target.not_known[type_]}"


def _share(numbers: Sequence[int], work: Sequence[int]) -> float:
    return sum(work[number] for number in numbers) / max(sum(work), 1)


def _problem(subgraph: Subgraph, operator: Operator, reason: str) -> OpProblem:
    return OpProblem(operator.type, subgraph.name_of(operator), reason)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
