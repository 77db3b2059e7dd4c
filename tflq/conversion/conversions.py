"""Remove conversions between float and integers that a quantized file does not need."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tflq.flatbuffer import MOVING, edit

VERSIONS = {**dict.fromkeys(("GATHER", "SLICE", "STRIDED_SLICE", "TRANSPOSE"), 2), "REVERSE_V2": 3}
"""The versions at which ops that only move values have int8 kernels. The others have them at version 1."""


def operator_type(model: Any, operator: Any) -> str:
    return edit.type_of(model.operatorCodes[operator.opcodeIndex])


def move_integers(model: Any, subgraph: Any, kept: Sequence[Any]) -> None:
    """Let ops that only move values move integers, if their input is dequantized right before.

    The operators in `kept` stay as they are. The results are the same.
    """
    writers = _dequantizers(model, subgraph)
    operators = []
    for operator in subgraph.operators:
        operators.append(operator)
        writer = writers.get(int(operator.inputs[0])) if len(operator.inputs) else None
        is_kept = any(operator is other for other in kept)
        if writer is None or is_kept or operator_type(model, operator) not in MOVING:
            continue
        source, result = int(writer.inputs[0]), int(operator.outputs[0])
        target = edit.add_copy(subgraph, result)
        tensor, like = subgraph.tensors[target], subgraph.tensors[source]
        tensor.type, tensor.quantization = like.type, copy.deepcopy(like.quantization)
        operator.inputs, operator.outputs = [source, *operator.inputs[1:]], [target]
        code = copy.copy(model.operatorCodes[operator.opcodeIndex])
        code.version = max(code.version, VERSIONS.get(operator_type(model, operator), 1))
        operator.opcodeIndex = edit.code_index(model, code)
        writers[result] = edit.conversion(model, "DEQUANTIZE", target, result)
        operators.append(writers[result])
    subgraph.operators = operators


def fold_conversions(model: Any, subgraph: Any) -> None:
    """Join each DEQUANTIZE with a QUANTIZE behind it: to nothing if both have one scale, else to one QUANTIZE."""
    writers = _dequantizers(model, subgraph)
    aliases: dict[int, int] = {}
    kept = []
    for operator in subgraph.operators:
        operator.inputs = [aliases.get(int(index), int(index)) for index in operator.inputs]
        writer = writers.get(operator.inputs[0]) if operator_type(model, operator) == "QUANTIZE" else None
        if writer is not None:
            source, target = int(writer.inputs[0]), int(operator.outputs[0])
            if _are_alike(subgraph.tensors[source], subgraph.tensors[target]):
                aliases[target] = source
                continue
            operator.inputs = [source]
        kept.append(operator)
    subgraph.operators = kept
    subgraph.outputs = [aliases.get(int(index), int(index)) for index in subgraph.outputs]
    for signature in (model.signatureDefs or []) if subgraph is model.subgraphs[0] else ():
        for entry in signature.outputs:
            entry.tensorIndex = aliases.get(entry.tensorIndex, entry.tensorIndex)


def _are_alike(one: Any, other: Any) -> bool:
    a, b = one.quantization, other.quantization
    return one.type == other.type and list(a.scale) == list(b.scale) and list(a.zeroPoint) == list(b.zeroPoint)


def _dequantizers(model: Any, subgraph: Any) -> dict[int, Any]:
    """Return the DEQUANTIZE op that writes each tensor, if the tensor it reads is no constant."""
    return {
        int(op.outputs[0]): op
        for op in subgraph.operators
        if operator_type(model, op) == "DEQUANTIZE" and not edit.is_constant(model, subgraph.tensors[op.inputs[0]])
    }
