"""End a model at chosen tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tflq.flatbuffer import edit
from tflq.flatbuffer.graph import Graph, Subgraph
from tflq.strict import did_you_mean


def end_at(model: Any, graph: Graph, names: Sequence[str]) -> None:
    """Make these tensors the outputs of the only signature, and remove the ops that none of them needs.

    A name is that of an output, or of a tensor of the main graph that an op writes, or the number of an op.
    LookupError, with a name that is similar, if there is no such tensor, or if several have the name.
    """
    (main, *_), (signature,) = graph.subgraphs, graph.signatures
    known = dict(signature.outputs)
    edit.set_outputs(model, {name: known[name] if name in known else _tensor(main, name, [*known]) for name in names})
    edit.drop_unneeded_operators(model)
    edit.drop_unused(model)


def name_of(main: Subgraph, tensor: int) -> str:
    """Return a name at which the model can end at that tensor: the tensor's own, or the number of its op."""
    name = main.tensors[tensor].name
    try:
        if name and _tensor(main, name) == tensor:
            return name
    except LookupError:
        pass
    return next((f"#{operator.index}" for operator in main.operators if tensor in operator.outputs), "")


def _tensor(main: Subgraph, name: str, others: Sequence[str] = ()) -> int:
    """Return the tensor with that name, or the output of the op with that number, such as #3.

    The converter joins the names of the parts of a fused op with `;`. A similar name is also sought among the others.
    """
    written = {index: operator for operator in main.operators for index in operator.outputs}
    numbers = {f"#{operator.index}": operator.outputs for operator in main.operators}
    names = {index: main.tensors[index].name for index in written}
    for found in (
        list(numbers.get(name, ())[:1]),
        [index for index, own in names.items() if own == name],
        [index for index, own in names.items() if name in own.split(";")],
    ):
        if len(found) > 1:
            choice = " or ".join(f"'#{written[index].index}'" for index in found)
            raise LookupError(f"{len(found)} tensors have the name {name!r}: write {choice}, the number of the op")
        if found:
            return found[0]
    raise LookupError(f"there is no tensor {name!r}{did_you_mean(name, [*others, *names.values()])}")
