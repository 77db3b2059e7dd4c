"""End a prepared model at the tensors that the recipe chooses as outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tflq.errors import RecipeError
from tflq.flatbuffer import Graph, Operator, Subgraph
from tflq.flatbuffer.end_at import end_at, name_of


def end_model(model: Any, graph: Graph, names: Sequence[str]) -> None:
    """End the model at these tensors. RecipeError if there is no such tensor, or if a name stands for several."""
    try:
        end_at(model, graph, names)
    except LookupError as error:
        raise RecipeError(
            f"model.outputs: {error}; `tflq ops RECIPE` lists the names if model.outputs is left out"
        ) from error


SUPPRESSING = frozenset(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "TFLite_Detection_PostProcess"))
"""Ops that choose boxes, which no quantizer turns into integers."""


def end_before(subgraph: Subgraph, operator: Operator) -> str:
    """Return a clause with the outputs that end the model before that op, or an empty text for other subgraphs."""
    computed = (tensor.index for tensor in subgraph.read_by(operator) if not tensor.is_constant)
    read = [name for index in computed if (name := name_of(subgraph, index))]
    if subgraph.index or not read:
        return ""
    return f", or end the model before it with model.outputs: [{', '.join(map(repr, read))}]"


def notes_about(graph: Graph) -> Iterator[str]:
    """Yield a sentence if the model chooses boxes inside, which belongs behind the quantized part."""
    for subgraph, operator in graph.operators():
        if operator.type in SUPPRESSING:
            yield (
                f"the model has {operator.type} inside, which stays in float and needs exact scores. Leave it to the"
                f" program around the model{end_before(subgraph, operator)}"
            )
            return
