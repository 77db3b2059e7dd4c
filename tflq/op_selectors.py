"""Select ops of a float32 file by selectors: an op type, a tensor name, a pattern, a scope or a number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from tflq.errors import RecipeError
from tflq.flatbuffer import Graph
from tflq.strict import did_you_mean

Path = tuple[str, ...]
REMEDY = "`tflq ops RECIPE` lists all types, names and numbers"


@dataclass(frozen=True)
class Op:
    """An op of the main graph, with everything that a selector can name."""

    index: int
    type: str
    tensors: tuple[str, ...]
    """The names of the tensors that it writes. For outputs of the model, the names in the signature follow."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors and of its fused parts. The converter joins the names of parts with `;`."""
        parts = (part for tensor in self.tensors for part in (tensor, *tensor.split(";")))
        return tuple(dict.fromkeys(part for part in parts if part))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The names of its parts, each divided into steps at `/`."""
        return tuple(tuple(name.split("/")) for name in self.names if ";" not in name)

    def is_in(self, scope: Path) -> bool:
        """Return whether one of its paths contains these consecutive steps. The last step alone is no scope."""
        length = len(scope)
        paths = self.paths if length > 1 else [path[:-1] for path in self.paths]
        return any(path[i : i + length] == scope for path in paths for i in range(len(path) - length + 1))


def ops(graph: Graph) -> tuple[Op, ...]:
    """Return the ops of the main graph, in the order of the graph."""
    (subgraph, *_) = graph.subgraphs
    outputs: dict[int, list[str]] = {}
    for signature in graph.signatures:
        for name, index in signature.outputs if signature.subgraph == subgraph.index else ():
            outputs.setdefault(index, []).append(name)
    return tuple(
        Op(
            operator.index,
            operator.type,
            tuple(
                name
                for tensor in subgraph.written_by(operator)
                for name in (tensor.name, *outputs.get(tensor.index, ()))
            ),
        )
        for operator in subgraph.operators
    )


def select(graph: Graph, selectors: Sequence[str], key: str = "keep_float") -> frozenset[int]:
    """Return the indices of the ops that the selectors name, which the recipe has under that key.

    RecipeError with every selector that names no op or is ambiguous.
    """
    graph_ops, selected, problems = ops(graph), set[int](), []
    for selector in selectors:
        try:
            selected |= _select(graph_ops, selector)
        except LookupError as problem:
            problems.append(str(problem))
    if problems:
        raise RecipeError(f"{key}: {'; '.join(problems)}; {REMEDY}")
    return frozenset(selected)


def _select(graph_ops: Sequence[Op], selector: str) -> set[int]:
    if match := re.fullmatch(r"#(\d+)", selector):
        return {_by_number(graph_ops, int(match[1]))}
    if any(op.type == selector for op in graph_ops):
        return _indices(op for op in graph_ops if op.type == selector)
    by_type = _indices(op for op in graph_ops if op.type == selector.upper())
    by_name = _by_name(graph_ops, selector)
    if by_type and by_name and by_type != by_name:
        raise LookupError(
            f"{selector!r} is the type {selector.upper()} ({_list(by_type)}) and a name ({_list(by_name)}): write"
            f" {selector.upper()} for the type, or a number such as '#{min(by_name)}' for the other"
        )
    if not by_type and not by_name:
        raise LookupError(f"{selector!r} names no op{_suggestion(graph_ops, selector)}")
    return by_type or by_name


def _by_number(graph_ops: Sequence[Op], number: int) -> int:
    count = len(graph_ops)
    if number not in {op.index for op in graph_ops}:
        raise LookupError(f"there is no op #{number}: the model has {count} ops, from #0 to #{count - 1}")
    return number


def _by_name(graph_ops: Sequence[Op], selector: str) -> set[int]:
    """Select by a complete name, else by a pattern, else by a scope."""
    if complete := _indices(op for op in graph_ops if selector in op.names):
        return complete
    if any(sign in selector for sign in "*?["):
        return _indices(op for op in graph_ops if any(fnmatchcase(name, selector) for name in op.names))
    in_scope = _indices(op for op in graph_ops if op.is_in(tuple(selector.strip("/").split("/"))))
    return in_scope if "/" in selector else _by_layer(graph_ops, selector, in_scope)


def _by_layer(graph_ops: Sequence[Op], selector: str, in_scope: set[int]) -> set[int]:
    """Select by the name of a Keras layer. Keras 3 adds a number to scopes: layer `dense` has the scope `dense_1`.

    A name that is no scope selects the scope with a number. LookupError if the name may be a scope and a layer.
    """
    pattern = re.compile(f"{re.escape(selector)}_\\d+")
    steps = {step for op in graph_ops for path in op.paths for step in path[:-1]}
    renumbered = sorted(step for step in steps if pattern.fullmatch(step))
    if not in_scope and len(renumbered) == 1 and _has_numbered_scopes(graph_ops):
        return _indices(op for op in graph_ops if op.is_in((renumbered[0],)))
    if in_scope and renumbered and re.search(r"_\d+$", selector):
        others = _indices(op for op in graph_ops if op.is_in((renumbered[0],)))
        raise LookupError(
            f"{selector!r} is a scope ({_list(in_scope)}), but a layer of that name may be {renumbered[0]!r}"
            f" ({_list(others)}), because Keras 3 renumbers scopes: write the scope with the one above it, or a number"
            f" such as '#{min(in_scope)}'"
        )
    return in_scope


def _has_numbered_scopes(graph_ops: Sequence[Op]) -> bool:
    """Return whether every scope directly below the model's scope ends in a number, as in Keras 3."""
    return all(re.search(r"_\d+$", path[1]) for op in graph_ops for path in op.paths if len(path) > 2)


def _indices(selected: Iterator[Op]) -> set[int]:
    return {op.index for op in selected}


def _list(numbers: set[int]) -> str:
    first = ", ".join(f"#{number}" for number in sorted(numbers)[:3])
    return first if len(numbers) < 4 else f"{first} and {len(numbers) - 3} more"


def _suggestion(graph_ops: Sequence[Op], selector: str) -> str:
    """Return a question with the name that the user probably meant, or an empty text."""
    types, names = {op.type for op in graph_ops}, [name for op in graph_ops for name in op.names]
    pattern = selector.lower()
    alike = [name for name in names if fnmatchcase(name.lower(), pattern)]
    if alike:
        return f" (did you mean {min(alike, key=len)!r}? Names are case-sensitive)"
    scope_names = ["/".join(path[i:-1]) for op in graph_ops for path in op.paths for i in range(len(path) - 1)]
    return did_you_mean(selector.upper(), types) or did_you_mean(selector, [*dict.fromkeys([*scope_names, *names])])


def scopes(op: Op) -> tuple[str, ...]:
    """Return the scopes that its parts come from, such as layers, each with the scopes around it."""
    return tuple(dict.fromkeys("/".join(path[:-1]) for path in op.paths if len(path) > 1))


def shortest_name(graph: Graph, index: int) -> str:
    """Return the shortest name that keep_float takes for this op alone, or its number if no name is unique."""
    op = ops(graph)[index]
    names = sorted((*op.names, *scopes(op)), key=lambda name: (len(name), name))
    return next((name for name in names if _is_unique(graph, name, index)), f"#{index}")


def _is_unique(graph: Graph, name: str, index: int) -> bool:
    try:
        return select(graph, [name]) == {index}
    except RecipeError:
        return False
