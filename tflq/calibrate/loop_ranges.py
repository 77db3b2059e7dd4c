"""Observe the activations inside loops: each iteration of a WHILE is a sample.

The body of each loop gets two more operands, which carry the minimum and the maximum of each activation so far. So all
iterations run inside LiteRT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.calibrate.observe import Observation
from tflq.calibrate.ranges import Range, RangeMethod, ranges
from tflq.calibrate.samples import Samples
from tflq.errors import ConversionError
from tflq.flatbuffer import Graph, Subgraph, edit, read
from tflq.flatbuffer.loops import Loop, loops
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

LARGEST = float(np.finfo(np.float32).max)
ENDS = {"min": ("REDUCE_MIN", "MINIMUM", LARGEST), "max": ("REDUCE_MAX", "MAXIMUM", -LARGEST)}
"""End of a range → the op that reduces a tensor, the op that joins two iterations, and the value before the first."""


LoopExtremes = Mapping[int, tuple[np.ndarray, np.ndarray]]
"""Body → the minima and the maxima of its activations over some calls, float32 [calls, activations]."""


def loop_activations(subgraph: Subgraph) -> tuple[int, ...]:
    """Return the indices of the float32 tensors of a body that its ops read or write, except constants."""
    computed = {*subgraph.inputs, *(index for operator in subgraph.operators for index in operator.outputs)}
    return tuple(
        tensor.index
        for tensor in subgraph.tensors
        if tensor.index in computed and tensor.dtype == "float32" and not tensor.is_constant and 0 not in tensor.shape
    )


def observe_loops(report: ProgressCallback, float32: Path, samples: Samples, calls: range) -> LoopExtremes:
    """Run the model over those calls, and return the extremes of the activations of all bodies.

    EvaluationError if LiteRT fails.
    """
    run = Runner(add_loop_extremes(float32, samples.folder / f"observable-loops-{calls.start}.tflite"))
    rows: dict[str, list[np.ndarray]] = {}
    for done, arrays in enumerate(samples.calls(calls), 1):
        for name, values in run(arrays).items():
            rows.setdefault(name, []).append(values)
        report(done, len(calls))
    bodies = sorted({int(name.split()[1]) for name in rows})
    return {body: (np.stack(rows[f"min {body}"]), np.stack(rows[f"max {body}"])) for body in bodies}


def add_loop_extremes(float32: Path, target: Path) -> Path:
    """Write the model with the outputs `min N` and `max N` for the body N of each loop, and return that path."""
    content = float32.read_bytes()
    graph, model = read(content), edit.unpack(content)
    outputs = {}
    for loop in loops(graph):
        for end in ENDS:
            outputs[f"{end} {loop.body}"] = _carry(model, graph, loop, end)
    edit.set_outputs(model, outputs)
    edit.write(model, target)
    return target


def _carry(model: Any, graph: Graph, loop: Loop, end: str) -> int:
    """Let the loop carry one end of the ranges, and return the tensor that WHILE writes it to."""
    reducing, joining, start = ENDS[end]
    body, condition, main = (model.subgraphs[place] for place in (loop.body, loop.condition, 0))
    indices = loop_activations(graph.subgraphs[loop.body])
    size = [len(indices)]
    before, after, packed = (
        edit.add_tensor(model, f"{end} {name}", size, place=loop.body) for name in ("before", "after", "packed")
    )
    scalars = [_reduced(model, loop.body, index, reducing) for index in indices]
    packing = schema.PackOptionsT(valuesCount=len(scalars))
    body.operators.append(edit.new_operator(model, "PACK", scalars, packed, packing))
    body.operators.append(edit.new_operator(model, joining, [before, packed], after, schema.MaximumMinimumOptionsT()))
    body.inputs, body.outputs = [*body.inputs, before], [*body.outputs, after]
    condition.inputs = [*condition.inputs, edit.add_tensor(model, f"{end} carried", size, place=loop.condition)]
    first = edit.add_constant(model, f"{end} {loop.body} first", np.full(len(indices), start), "FLOAT32")
    last = edit.add_tensor(model, f"{end} {loop.body} last", size)
    operator = main.operators[loop.operator]
    operator.inputs, operator.outputs = [*operator.inputs, first], [*operator.outputs, last]
    return last


def _reduced(model: Any, place: int, index: int, type_: str) -> int:
    """Add an op to the body that reduces a tensor to one number, and return that tensor."""
    body = model.subgraphs[place]
    rank = len(body.tensors[index].shape if body.tensors[index].shape is not None else ())
    if not rank:
        return index
    axes = edit.add_constant(model, f"axes of {index}", np.arange(rank), place=place)
    output = edit.add_tensor(model, f"{type_} {index}", [], place=place)
    body.operators.append(edit.reduction(model, type_, [index, axes], output))
    return output


def merge_loops(graph: Graph, parts: Sequence[LoopExtremes]) -> dict[int, Observation]:
    """Return one observation of each body: the extremes of its activations over all iterations of each call.

    ConversionError if a loop never ran.
    """
    return {
        body: _merged(graph.subgraphs[body], [part[body] for part in parts]) for body in (parts[0] if parts else ())
    }


def _merged(body: Subgraph, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Observation:
    tensors = loop_activations(body)
    minima, maxima = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    ran = ~np.all((minima == LARGEST) & (maxima == -LARGEST), axis=1)
    if not ran.any():
        name = body.tensors[body.outputs[0]].name
        raise ConversionError(
            f"the loop that computes {name!r} ran on no calibration sample, so its activations have no ranges."
            " Calibrate with samples that reach it, or use mode dynamic or float16, which need no ranges"
        )
    minima, maxima = (np.where(ran[:, np.newaxis], ends, np.float32(0)) for ends in (minima, maxima))
    return Observation(tensors, minima, maxima, np.isfinite(minima).all(1) & np.isfinite(maxima).all(1))


def loop_ranges(graph: Graph, observed: Mapping[int, Observation], method: RangeMethod) -> Iterator[Range]:
    """Yield the range of every activation inside loops. It clips nothing, whatever the method, but it may be wider."""
    for body, observation in observed.items():
        alone = replace(graph, subgraphs=(graph.subgraphs[body],))
        for range_ in ranges(alone, observation, {}, replace(method, method="minmax")):
            yield replace(range_, subgraph=body)
