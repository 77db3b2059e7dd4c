"""Give inputs the ranges that the recipe's `inputs.NAME.quantization` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tflq.calibrate.ranges import PASSING, Range
from tflq.errors import ConversionError
from tflq.flatbuffer import Graph
from tflq.inputs.schema import Input
from tflq.modes import Mode


def pin_inputs(graph: Graph, ranges: Sequence[Range], inputs: Mapping[str, Input], variant: Mode) -> tuple[Range, ...]:
    """Return the ranges. An input with a quantization in the recipe has its range, and so have reshaped copies of it.

    This has no effect on a variant with float inputs. ConversionError if the type of the inputs cannot have it.
    """
    dtype = variant.inference_input_type
    if dtype == "float32" or not graph.signatures:
        return tuple(ranges)
    ends: dict[int, tuple[float, float]] = {}
    for name, tensor in graph.signatures[0].inputs:
        config = inputs.get(name)
        if config is not None and config.quantization is not None:
            try:
                ends[tensor] = config.quantized_as(dtype).limits(dtype)
            except ValueError as error:
                raise ConversionError(f"inputs.{name}.quantization: {error}") from error
    for operator in graph.subgraphs[0].operators:
        position = PASSING.get(operator.type)
        if position is not None and operator.inputs[position] in ends:
            ends |= dict.fromkeys(operator.outputs, ends[operator.inputs[position]])
    return tuple(_with_ends(range_, ends) for range_ in ranges)


def _with_ends(range_: Range, ends: Mapping[int, tuple[float, float]]) -> Range:
    if range_.subgraph != 0 or range_.tensor not in ends:
        return range_
    minimum, maximum = ends[range_.tensor]
    return replace(range_, minimum=minimum, maximum=maximum)
