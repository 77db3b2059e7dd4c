"""Reduce a file to one signature: its subgraph comes first, and what no op of it refers to is removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import edit

_REFERENCE = "subgraphindex"
"""The end of the names of the options by which an op refers to another subgraph, such as the body of a WHILE."""


def keep_signature(model: Any, given: str | None, key: str) -> bool:
    """Keep only the given signature of the model, and name it `key`. Return whether that changes anything.

    None stands for the only signature. If the model has no signature, the first subgraph gets one with the names of its
    tensors.
    """
    definitions = model.signatureDefs or []
    is_alone = [(_text(each.signatureKey), each.subgraphIndex) for each in definitions] == [(key, 0)]
    if definitions:
        (kept,) = (each for each in definitions if given is None or _text(each.signatureKey) == given)
    else:
        kept = _signature(model.subgraphs[0])
    kept.signatureKey = key.encode()
    model.signatureDefs = [kept]
    return _keep_subgraphs(model, int(kept.subgraphIndex)) or not is_alone


def _signature(subgraph: Any) -> Any:
    """Return a signature whose names are those of the tensors; numbers if a name is missing or not unique."""
    sides = {}
    for side, indices in (("input", subgraph.inputs), ("output", subgraph.outputs)):
        names = [_text(subgraph.tensors[index].name) for index in indices]
        if "" in names or max(Counter(names).values(), default=0) > 1:
            names = [f"{side}_{place}" for place in range(len(names))]
        sides[side] = [schema.TensorMapT(name.encode(), int(index)) for name, index in zip(names, indices, strict=True)]
    return schema.SignatureDefT(inputs=sides["input"], outputs=sides["output"], subgraphIndex=0)


def _keep_subgraphs(model: Any, first: int) -> bool:
    """Keep the subgraph, as the first one, and all that its ops refer to. Return whether that changes anything."""
    reached, ahead = list[int](), [first]
    while ahead:
        place = ahead.pop(0)
        if place not in reached:
            reached.append(place)
            ahead += [getattr(options, name) for options, name in _references(model.subgraphs[place])]
    if first == 0 and len(reached) == len(model.subgraphs):
        return False
    model.subgraphs = [model.subgraphs[place] for place in reached]
    for subgraph in model.subgraphs:
        for options, name in list(_references(subgraph)):
            setattr(options, name, reached.index(getattr(options, name)))
    (signature,) = model.signatureDefs
    signature.subgraphIndex = 0
    edit.drop_unused(model)
    return True


def _references(subgraph: Any) -> Iterator[tuple[Any, str]]:
    """Yield the options of ops, with the names of the fields that hold the index of a subgraph."""
    for operator in subgraph.operators:
        for options in (operator.builtinOptions, operator.builtinOptions2):
            fields = [] if options is None else list(vars(options))
            names = [name for name in fields if name.lower().endswith(_REFERENCE) or name == "subgraph"]
            yield from ((options, name) for name in names if getattr(options, name) >= 0)


def _text(name: bytes | str | None) -> str:
    return name if isinstance(name, str) else (name or b"").decode("utf-8", "replace")
