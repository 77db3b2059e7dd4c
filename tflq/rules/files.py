"""V7, V12 and V15: what holds for a file as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.flatbuffer import Graph, Signature
from tflq.rules.violation import Place, Violation, places

_LARGEST = 2**31 - 1


def constants_are_their_own(graph: Graph) -> Iterator[Violation]:
    """V7: constants that share a place in the file are of one size there; zeros may be of any.

    The converter shares equal constants before it makes integers of the weights; for int16 activations it then
    writes over what another still reads.
    """
    sharing: dict[int, list[Place]] = {}
    for place in places(graph):
        if place.tensor.stored is not None and place.tensor.needed_bytes and place.tensor.stored.any():
            sharing.setdefault(place.tensor.buffer, []).append(place)
    for shared in sharing.values():
        if len({place.tensor.needed_bytes for place in shared}) > 1:
            wrong = min(shared, key=lambda place: place.tensor.needed_bytes)
            other = max(shared, key=lambda place: place.tensor.needed_bytes).tensor
            yield wrong.breaks("V7", f"its numbers were written over by those of {other.name!r}, of {other.dtype}")


def signatures_are_whole(graph: Graph) -> Iterator[Violation]:
    """V12: what a signature names is an input or output of its subgraph, and no name stands twice."""
    for signature in graph.signatures:
        subgraph = graph.subgraphs[signature.subgraph]
        yield from _faults(signature, "input", signature.inputs, subgraph.inputs)
        yield from _faults(signature, "output", signature.outputs, subgraph.outputs)


def _faults(
    signature: Signature, side: str, entries: tuple[tuple[str, int], ...], ends: tuple[int, ...]
) -> Iterator[Violation]:
    where = f"signature {signature.key!r}"
    for name, index in entries:
        if index not in ends:
            yield Violation("V12", where, f"its {side} {name!r} is not an {side} of the graph", "error")
    if len({name for name, _ in entries}) < len(entries):
        yield Violation("V12", where, f"two {side}s have one name", "error")


def size_is_loadable(graph: Graph) -> Iterator[Violation]:
    """V12: under 2 GB, beyond which neither a flatbuffer's offsets nor most runtimes reach."""
    if graph.size_bytes > _LARGEST:
        yield Violation("V12", "the file", f"takes {graph.size_bytes:,} bytes: few runtimes load 2 GB or more", "error")


def variables_are_assigned(graph: Graph) -> Iterator[Violation]:
    """V15: what a variable reads was assigned to it; the converter may lose its weights and say nothing."""
    assigned = {name for _, name in _uses(graph, "ASSIGN_VARIABLE")}
    if None in assigned:
        return  # a handle that comes from another subgraph may be any variable's
    lost = {name: place for place, name in _uses(graph, "READ_VARIABLE") if name is not None and name not in assigned}
    for name, place in list(lost.items())[:1]:
        which = f"{name!r} is" if len(lost) == 1 else f"{name!r} and {len(lost) - 1} more are"
        yield place.breaks("V15", f"the variable {which} read, but never assigned")


def _uses(graph: Graph, type_: str) -> Iterator[tuple[Place, str | None]]:
    """The operators of a type that take a variable's handle, with the variable's name where it is known."""
    for subgraph in graph.subgraphs:
        handles = [operator for operator in subgraph.operators if operator.type == "VAR_HANDLE"]
        names = {index: operator.variable for operator in handles for index in operator.outputs}
        for operator in subgraph.operators:
            handle = subgraph.input(operator, 0)
            if operator.type == type_ and handle is not None:
                tensor = next(iter(subgraph.written_by(operator)), handle)
                yield Place(subgraph, operator, tensor), names.get(handle.index)
