"""Refuse SavedModels that compute in half precision, for which TensorFlow Lite has no ops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tflq.errors import SourceError

STORING = frozenset(
    (
        *("Cast", "Const", "Identity", "IdentityN", "NoOp", "Placeholder", "ReadVariableOp", "VarHandleOp"),
        *("AssignVariableOp", "StopGradient"),
    )
)
"""Ops that may have values in half precision, because the converter makes float32 of them or removes them."""
REMEDY = (
    "TensorFlow Lite's ops compute in float32: load the model with the policy float32 and export it again, or give the"
    " .keras file, which is loaded in float32; mode float16 then stores the weights in half precision"
)


def refuse_half_precision(path: Path, function: Any) -> None:
    """Raise SourceError if an input of the signature, or an op of it, has half precision."""
    for name, spec in function.structured_input_signature[1].items():
        if spec.dtype.name in ("float16", "bfloat16"):
            raise SourceError(f"{path}: its input {name!r} is {spec.dtype.name}. {REMEDY}")
    for name, type_, dtype in _computing(function):
        raise SourceError(f"{path}: it computes in {dtype}, such as the {type_} {name!r}. {REMEDY}")


def _computing(function: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the type and the dtype of each op that computes in half precision."""
    from tensorflow.core.framework import types_pb2

    names = {types_pb2.DT_HALF: "float16", types_pb2.DT_BFLOAT16: "bfloat16"}
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for each in definition.library.function for node in each.node_def)]
    for node in nodes:
        dtype = node.attr["T"].type if "T" in node.attr else 0
        if dtype in names and node.op not in STORING:
            yield node.name, node.op, names[dtype]
