"""V7, V12 and V15: rules for a file as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.flatbuffer import Graph, Signature
from tflq.rules.effect import LOST_VARIABLE, SHARED_CONSTANT, SIGNATURE, TOO_LARGE, Effect
from tflq.rules.violation import Place, Violation, places

_MAX_BYTES = 2**31 - 1


def constants_are_their_own(graph: Graph) -> Iterator[Violation]:
    """V7: constants that share a buffer have one size. Constants of zeros may have any size.

    The converter shares equal constants before it quantizes the weights. For int16 activations it then overwrites a
    constant that another operator still reads.
    """
    sharing: dict[int, list[Place]] = {}
    for place in places(graph):
        if place.tensor.stored is not None and place.tensor.needed_bytes and place.tensor.stored.any():
            sharing.setdefault(place.tensor.buffer, []).append(place)
    for shared in sharing.values():
        if len({place.tensor.needed_bytes for place in shared}) > 1:
            smallest = min(shared, key=lambda place: place.tensor.needed_bytes)
            other = max(shared, key=lambda place: place.tensor.needed_bytes).tensor
            yield smallest.breaks(
                SHARED_CONSTANT, f"its values were overwritten by those of {other.name!r}, of {other.dtype}"
            )


def signatures_are_whole(graph: Graph) -> Iterator[Violation]:
    """V12: every entry of a signature is an input or output of its subgraph, and the names are unique."""
    for signature in graph.signatures:
        subgraph = graph.subgraphs[signature.subgraph]
        yield from _errors(signature, "input", signature.inputs, subgraph.inputs)
        yield from _errors(signature, "output", signature.outputs, subgraph.outputs)


def _errors(
    signature: Signature, side: str, entries: tuple[tuple[str, int], ...], tensors: tuple[int, ...]
) -> Iterator[Violation]:
    where = f"signature {signature.key!r}"
    for name, index in entries:
        if index not in tensors:
            yield _of_file(SIGNATURE, where, f"its {side} {name!r} is not an {side} of the graph")
    if len({name for name, _ in entries}) < len(entries):
        yield _of_file(SIGNATURE, where, f"two {side}s have one name")


def _of_file(effect: Effect, where: str, message: str) -> Violation:
    return Violation(effect.rule, where, message, effect.severity, effect.runtimes)


def size_is_loadable(graph: Graph) -> Iterator[Violation]:
    """V12: the file is smaller than 2 GB, the limit of flatbuffer offsets and of most runtimes."""
    if graph.size_bytes > _MAX_BYTES:
        yield _of_file(TOO_LARGE, "the file", f"has {graph.size_bytes:,} bytes: few runtimes load 2 GB or more")


def variables_are_assigned(graph: Graph) -> Iterator[Violation]:
    """V15: a variable that is read is also assigned. The converter may silently lose the weights of a variable."""
    assigned = {name for _, name in _uses(graph, "ASSIGN_VARIABLE")}
    if None in assigned:
        return  # a handle from another subgraph may belong to any variable
    lost = {name: place for place, name in _uses(graph, "READ_VARIABLE") if name is not None and name not in assigned}
    for name, place in list(lost.items())[:1]:
        variables = f"variable {name!r} is" if len(lost) == 1 else f"variables {name!r} and {len(lost) - 1} more are"
        yield place.breaks(LOST_VARIABLE, f"the {variables} read, but never assigned")


def _uses(graph: Graph, type_: str) -> Iterator[tuple[Place, str | None]]:
    """Yield the operators of a type that read a variable's handle, with the variable's name if it is known."""
    for subgraph in graph.subgraphs:
        handles = [operator for operator in subgraph.operators if operator.type == "VAR_HANDLE"]
        names = {index: operator.variable for operator in handles for index in operator.outputs}
        for operator in subgraph.operators:
            handle = subgraph.input(operator, 0)
            if operator.type == type_ and handle is not None:
                tensor = next(iter(subgraph.written_by(operator)), handle)
                yield Place(subgraph, operator, tensor), names.get(handle.index)
