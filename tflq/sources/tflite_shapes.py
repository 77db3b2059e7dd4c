"""Write the sizes of the inputs into a `.tflite` file with open dimensions, and those that follow from them.

The sizes are found by calls of the file. A size that depends on the values of the inputs stays open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tflq.datasets import TensorSpec
from tflq.flatbuffer import ABSENT, Graph, Subgraph, constants, edit
from tflq.interpreter import Probe, probe

OPEN = -1
SHAPE_OPS = frozenset(("SHAPE", "RANK"))
"""Ops whose outputs depend on shapes alone."""
NEVER_FOLDED = frozenset(
    (
        *("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "VAR_HANDLE", "READ_VARIABLE", "HASHTABLE"),
        *("CALL_ONCE", "WHILE", "IF", "CALL", "STABLEHLO_WHILE", "STABLEHLO_COMPOSITE"),
    )
)
"""Ops whose outputs may differ from call to call, or that run another subgraph."""
MAX_FOLDED_BYTES = 1 << 16
"""A computed constant that is larger is not stored."""


def has_open_shapes(graph: Graph, specs: Sequence[TensorSpec]) -> bool:
    """Return whether the sizes of the inputs differ from those in the file, or the file leaves a rank unknown."""
    (subgraph, *_), (signature,) = graph.subgraphs, graph.signatures
    shapes = {spec.name: tuple(OPEN if size is None else size for size in spec.shape or ()) for spec in specs}
    if any(subgraph.tensors[index].shape_signature != shapes[name] for name, index in signature.inputs):
        return True
    return any(tensor.is_float and not tensor.has_rank for tensor in subgraph.tensors)


def write_shapes(path: Path, graph: Graph, model: Any, specs: Sequence[TensorSpec]) -> None:
    """Write the sizes of the specs into the inputs of the model, and the sizes that calls find into all activations.

    `path` is the file of the model, which has one signature. If a size of the specs is open, the sizes that depend on
    it stay open, too. Otherwise ops that compute shapes are replaced by constants. EvaluationError if LiteRT cannot
    prepare or run the file.
    """
    (subgraph, *_) = graph.subgraphs
    is_open = any(None in (spec.shape or ()) for spec in specs)
    wanted = () if is_open else tuple(_shape_values(subgraph))
    first, *others = _probes(path, graph, specs, wanted)
    stored = model.subgraphs[0].tensors
    for tensor in subgraph.tensors:
        if tensor.is_constant or tensor.is_variable or tensor.index not in first.shapes:
            continue
        shape = first.shapes[tensor.index]
        sizes = _compared(shape, [other.shapes[tensor.index] for other in others])
        if sizes is None:
            continue
        target = stored[tensor.index]
        target.shape, target.hasRank = list(shape), True
        target.shapeSignature = list(sizes) if OPEN in sizes else None
    _fold(model, first, others)


def _probes(path: Path, graph: Graph, specs: Sequence[TensorSpec], wanted: Sequence[int]) -> Iterator[Probe]:
    """Yield the results of calls with different values, and with different numbers of samples if these are open."""
    (signature,) = graph.signatures
    places = dict(signature.inputs)
    shapes = [
        {places[spec.name]: tuple(size or count for size in spec.shape or ()) for spec in specs} for count in (1, 2)
    ]
    yield probe(path, shapes[0], 0, wanted)
    yield probe(path, shapes[0], 1, wanted)
    if shapes[0] != shapes[1]:
        yield probe(path, shapes[1], 1, wanted)


def _compared(shape: tuple[int, ...], others: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape with open sizes where other calls have other sizes. Return None if their ranks differ."""
    if any(len(other) != len(shape) for other in others):
        return None
    return tuple(sizes[0] if len(set(sizes)) == 1 else OPEN for sizes in zip(shape, *others, strict=True))


def _shape_values(subgraph: Subgraph) -> Iterator[int]:
    """Yield the outputs of ops that depend on constants and shapes alone, in the order of the ops."""
    known = {tensor.index for tensor in subgraph.tensors if tensor.is_constant} | {ABSENT}
    for operator in subgraph.operators:
        depends = set() if operator.type in SHAPE_OPS else {*operator.inputs} - known
        if operator.inputs and not depends and operator.type not in NEVER_FOLDED and not operator.is_custom:
            known |= {*operator.outputs}
            yield from operator.outputs


def _fold(model: Any, first: Probe, others: Sequence[Probe]) -> None:
    """Store the values that are equal in all calls as constants, and remove the ops that nothing needs any more."""
    (subgraph, *_) = model.subgraphs
    folded: Mapping[int, np.ndarray] = {
        index: value
        for index, value in first.values.items()
        if 0 < value.nbytes <= MAX_FOLDED_BYTES and all(np.array_equal(value, other.values[index]) for other in others)
    }
    if not folded:
        return
    for index, value in folded.items():
        tensor = subgraph.tensors[index]
        tensor.shape, tensor.shapeSignature, tensor.hasRank = list(value.shape), None, True
        tensor.buffer = constants.add_buffer(model, value)
    subgraph.operators = [
        operator for operator in subgraph.operators if not {*operator.outputs} <= folded.keys() or not operator.outputs
    ]
    edit.drop_unneeded_operators(model)
    edit.drop_unused(model)
