"""Check a file against the table of a target: it runs whole, in part, or not at all, with the reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflq import flatbuffer
from tflq.cost_model import operator_multiply_adds
from tflq.errors import EvaluationError
from tflq.flatbuffer import Graph, Operator, Subgraph
from tflq.targets.conditions import broken_by, broken_rule
from tflq.targets.memory_plan import memory_plan
from tflq.targets.op_problem import OpProblem
from tflq.targets.schema import OpRule, Target
from tflq.targets.shipped import load
from tflq.targets.target_verdict import Outcome, TargetVerdict
from tflq.targets.tools import vela_command
from tflq.targets.vela import COMPILED, VELA_EXTRA, run_vela

_CPU = "micro"
"""The target whose kernels run on the CPU beside an Ethos-U."""


def file_verdicts(path: Path, targets: Sequence[Target]) -> tuple[TargetVerdict, ...]:
    """Return the verdict of each target on the file, with that of its compiler if there is one.

    EvaluationError, with the path, if it is no .tflite file or cannot be read.
    """
    data = flatbuffer.file_bytes(path)
    try:
        by_table = verdicts(data, targets)
        is_compiled = any(target.vela for target in targets) and _is_compiled(flatbuffer.read(data))
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error
    return tuple(
        _compiled(path, target, verdict, is_compiled) for target, verdict in zip(targets, by_table, strict=True)
    )


def _is_compiled(graph: Graph) -> bool:
    return any(operator.type == COMPILED for _, operator in graph.operators())


def _compiled(path: Path, target: Target, verdict: TargetVerdict, is_compiled: bool) -> TargetVerdict:
    if not target.vela:
        return verdict
    options, command = target.vela_options, vela_command()
    if is_compiled:
        sentence = "Whether it was compiled for this accelerator: the file is compiled already."
    elif options is None:
        sentence = f"Time, memory and other conditions: name one with its size, such as {next(iter(target.vela))}."
    elif command is None:
        sentence = f"Time, memory and other conditions: with {VELA_EXTRA}, tflq compiles the file with Vela."
    else:
        run = run_vela(path, target.name, options, command)
        return verdict.refused(run, _on_cpu(path)) if run.error else verdict.with_compiled(run)
    return replace(verdict, not_known=(*verdict.not_known, sentence))


def _on_cpu(path: Path) -> TargetVerdict:
    """Return the verdict of the runtime that runs files on the CPU beside an accelerator with a compiler."""
    (verdict,) = verdicts(path.read_bytes(), [load(_CPU)])
    return verdict


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
