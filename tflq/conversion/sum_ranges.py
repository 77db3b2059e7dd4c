"""Ranges of sums for the 16-bit quantizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tflq.flatbuffer import edit

ONE_SCALE = frozenset(["EXPAND_DIMS", "RESHAPE", "SLICE", "SQUEEZE", "STRIDED_SLICE", "SUM", "TRANSPOSE"])
"""The ops whose output has the scale of the first input in 16-bit files."""


def widen_sums(model: Any) -> None:
    """Give the output and the input of each SUM one range, and also the tensors that the input takes its scale from.

    The 16-bit quantizer gives them one scale: that of the first of them. Otherwise the output would be clipped.
    """
    types = [edit.type_of(code) for code in model.operatorCodes]
    for subgraph in model.subgraphs:
        writers = {output: operator for operator in subgraph.operators for output in operator.outputs}
        for operator in subgraph.operators:
            if types[operator.opcodeIndex] == "SUM":
                indices = [operator.outputs[0], *_with_its_scale(operator.inputs[0], writers, types)]
                _join([subgraph.tensors[index] for index in indices])


def _with_its_scale(index: int, writers: dict[int, Any], types: list[str]) -> Iterator[int]:
    """Yield the tensor, and those before it that have its scale."""
    yield index
    while (writer := writers.get(index)) is not None and types[writer.opcodeIndex] in ONE_SCALE:
        index = writer.inputs[0]
        yield index


def _join(tensors: list[Any]) -> None:
    """Give the tensors one range that contains all of theirs, if each has a range."""
    ranges = [ends for tensor in tensors if (ends := edit.range_of(tensor)) is not None]
    for tensor in tensors if len(ranges) == len(tensors) else ():
        tensor.quantization.min = [min(low for low, _ in ranges)]
        tensor.quantization.max = [max(high for _, high in ranges)]
