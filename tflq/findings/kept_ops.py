"""The ops to keep in float so that an output is not ruined."""

from __future__ import annotations

from collections.abc import Iterable

from tflq.findings.op_causes import LayerEvidence, is_wide
from tflq.flatbuffer import Graph, Operator
from tflq.layerwise import Activation, Alignment, unlike_channels


def ops_to_keep(evidence: LayerEvidence, ops: Iterable[int]) -> list[int]:
    """Return the ops of the float32 graph to keep in float, in order. Those that are in float already are left out.

    An op in float wins nothing if what it reads was rounded to coarse steps before. So the ops that write or read such
    values are kept, too. In a file with float activations, only ops with integer weights can lose anything.
    """
    of_one = _at_coarse_steps if evidence.has_integer_activations else _with_integer_weights
    return sorted({each for op in ops for each in of_one(evidence, op)} - evidence.in_float)


def _at_coarse_steps(evidence: LayerEvidence, op: int) -> set[int]:
    """Return the op, and all that are linked to it by activations for whose values the steps are too coarse."""
    operators = evidence.graph.subgraphs[0].operators
    found, new = set[int](), {op}
    while new:
        found |= new
        ends = {index for each in new for index in (*operators[each].inputs, *operators[each].outputs)}
        compared = (evidence.activations[index] for index in ends if index in evidence.activations)
        coarse = {activation.tensor for activation in compared if _is_coarse(activation, evidence.bits)}
        new = {each.index for each in operators if coarse & {*each.inputs, *each.outputs}} - found
    return found


def _is_coarse(activation: Activation, bits: int) -> bool:
    return is_wide(activation, bits) or (bits == 8 and unlike_channels(activation.peaks) is not None)


def _with_integer_weights(evidence: LayerEvidence, op: int) -> set[int]:
    """Return the op if it has integer weights, else the nearest ones before it that have."""
    operators = evidence.graph.subgraphs[0].operators
    writers = {index: each.index for each in operators for index in each.outputs}
    seen, new = set[int](), {op}
    while new:
        seen |= new
        inputs = {index for each in new - evidence.weighted for index in operators[each].inputs}
        new = {writers[index] for index in inputs if index in writers} - seen
    return seen & evidence.weighted


def weighted(alignment: Alignment) -> frozenset[int]:
    """Return the ops of the float32 graph that have integer weights in the other file."""
    return frozenset(op for (op, _), stored in alignment.constants.items() if stored.dtype in ("int4", "int8", "int16"))


def in_float(graph: Graph, alignment: Alignment) -> frozenset[int]:
    """Return the ops of the float32 graph that compute in float in the other file."""

    def is_float(operator: Operator) -> bool:
        twins = [alignment.activations[index] for index in operator.outputs if index in alignment.activations]
        return bool(twins) and all(alignment.quantized.tensors[index].dtype == "float32" for index in twins)

    computed = {operator.index for operator in graph.subgraphs[0].operators if is_float(operator)}
    return frozenset(computed - weighted(alignment))
