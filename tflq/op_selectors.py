"""The ops of a float32 file, and the words that choose some of them: type, tensor name, scope or number."""

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
REMEDY = "`tflq ops RECIPE` lists what can be named"


@dataclass(frozen=True)
class Op:
    """An op of the main graph, by all that it can be called."""

    index: int
    type: str
    tensors: tuple[str, ...]
    """The names of those that it writes, and the signature's names of those that are outputs."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of its tensors, and of the ops that it was fused of, which the converter joins with `;`."""
        parts = (part for tensor in self.tensors for part in (tensor, *tensor.split(";")))
        return tuple(dict.fromkeys(part for part in parts if part))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        return tuple(tuple(name.split("/")) for name in self.names if ";" not in name)

    def is_in(self, scope: Path) -> bool:
        """Whether one of its names has these steps one after the other; the last step alone is no scope."""
        length = len(scope)
        paths = self.paths if length > 1 else [path[:-1] for path in self.paths]
        return any(path[i : i + length] == scope for path in paths for i in range(len(path) - length + 1))


def ops(graph: Graph) -> tuple[Op, ...]:
    """Those of the main graph, in its order."""
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


def select(graph: Graph, selectors: Sequence[str]) -> frozenset[int]:
    """The numbers of the ops that any of the selectors names; RecipeError with each that names none or may mean two."""
    named, chosen, faults = ops(graph), set[int](), []
    for selector in selectors:
        try:
            chosen |= _chosen(named, selector)
        except LookupError as fault:
            faults.append(str(fault))
    if faults:
        raise RecipeError(f"keep_float: {'; '.join(faults)}; {REMEDY}")
    return frozenset(chosen)


def _chosen(named: Sequence[Op], selector: str) -> set[int]:
    if found := re.fullmatch(r"#(\d+)", selector):
        return {_numbered(named, int(found[1]))}
    if any(op.type == selector for op in named):
        return _numbers(op for op in named if op.type == selector)
    typed = _numbers(op for op in named if op.type == selector.upper())
    called = _called(named, selector)
    if typed and called and typed != called:
        raise LookupError(
            f"{selector!r} is the type {selector.upper()} ({_listed(typed)}) and a name ({_listed(called)}): write"
            f" {selector.upper()} for the type, or a number such as '#{min(called)}' for the other"
        )
    if not typed and not called:
        raise LookupError(f"{selector!r} names no op{_near(named, selector)}")
    return typed or called


def _numbered(named: Sequence[Op], number: int) -> int:
    if number not in {op.index for op in named}:
        raise LookupError(f"there is no op #{number}: the model has {len(named)}, from #0 to #{len(named) - 1}")
    return number


def _called(named: Sequence[Op], selector: str) -> set[int]:
    """By a whole name, else by a pattern, else by a scope."""
    if whole := _numbers(op for op in named if selector in op.names):
        return whole
    if any(sign in selector for sign in "*?["):
        return _numbers(op for op in named if any(fnmatchcase(name, selector) for name in op.names))
    inside = _numbers(op for op in named if op.is_in(tuple(selector.strip("/").split("/"))))
    return inside if "/" in selector else _of_one_layer(named, selector, inside)


def _of_one_layer(named: Sequence[Op], selector: str, inside: set[int]) -> set[int]:
    """Keras 3 numbers its scopes once more: of the layers `dense` and `dense_1` it makes `dense_1` and `dense_1_2`.

    So a name that is no scope stands for the one that it became, and one that may be two things is refused.
    """
    pattern = re.compile(f"{re.escape(selector)}_\\d+")
    again = sorted({step for op in named for path in op.paths for step in path[:-1] if pattern.fullmatch(step)})
    if not inside and len(again) == 1 and _are_numbered_anew(named):
        return _numbers(op for op in named if op.is_in((again[0],)))
    if inside and again and re.search(r"_\d+$", selector):
        rest = _numbers(op for op in named if op.is_in((again[0],)))
        raise LookupError(
            f"{selector!r} is a scope ({_listed(inside)}), but a layer of that name may be {again[0]!r}"
            f" ({_listed(rest)}), since Keras 3 numbers scopes anew: write the scope with the one above it, or a number"
            f" such as '#{min(inside)}'"
        )
    return inside


def _are_numbered_anew(named: Sequence[Op]) -> bool:
    """Whether every scope right below the model's ends in a number, as those that Keras 3 makes do."""
    return all(re.search(r"_\d+$", path[1]) for op in named for path in op.paths if len(path) > 2)


def _numbers(some: Iterator[Op]) -> set[int]:
    return {op.index for op in some}


def _listed(numbers: set[int]) -> str:
    first = ", ".join(f"#{number}" for number in sorted(numbers)[:3])
    return first if len(numbers) < 4 else f"{first} and {len(numbers) - 3} more"


def _near(named: Sequence[Op], selector: str) -> str:
    """The name that was probably meant."""
    types, names = {op.type for op in named}, [name for op in named for name in op.names]
    pattern = selector.lower()
    alike = [name for name in names if fnmatchcase(name.lower(), pattern)]
    if alike:
        return f" (did you mean {min(alike, key=len)!r}? Names are told apart by case)"
    inside = ["/".join(path[i:-1]) for op in named for path in op.paths for i in range(len(path) - 1)]
    return did_you_mean(selector.upper(), types) or did_you_mean(selector, [*dict.fromkeys([*inside, *names])])


def scopes(op: Op) -> tuple[str, ...]:
    """Where its parts come from: layers, or scopes of a SavedModel, with those around them."""
    return tuple(dict.fromkeys("/".join(path[:-1]) for path in op.paths if len(path) > 1))
