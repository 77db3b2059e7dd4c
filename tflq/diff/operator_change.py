"""The ops that differ between two files: dtypes, output shapes, fused functions, options and versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflq.diff.matching import OperatorMatch
from tflq.flatbuffer import ABSENT, Operator, Options, Subgraph, stored_constants

IN_OTHER_FIELDS = {"fusedActivationFunction"}
"""Options that the graph itself holds, with the names of their values."""
DTYPES = ("inputs", "constants", "outputs")
"""The facts that are dtypes."""
COMPARABLE = ("type", *DTYPES, "shape")
"""The facts that ops of two types have in common."""


@dataclass(frozen=True)
class FactChange:
    """One fact about an op that differs, in words."""

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what} {self.before} → {self.after}"


@dataclass(frozen=True)
class OperatorChange:
    """An op that both files have, and what differs."""

    subgraph: int
    number_before: int
    number_after: int
    type: str
    """The type in the second file."""
    tensor: str
    """The name of its first output in the second file."""
    changes: tuple[FactChange, ...]

    @property
    def has_other_dtypes(self) -> bool:
        """Whether it computes with, stores or writes another dtype."""
        return any(change.what in DTYPES for change in self.changes)


@dataclass(frozen=True)
class PresentOperator:
    """An op that only one of the two files has."""

    subgraph: int
    number: int
    type: str
    tensor: str
    """The name of its first output."""


def operator_changes(
    match: OperatorMatch, options: tuple[Sequence[Options], Sequence[Options]]
) -> Iterator[OperatorChange]:
    """Yield the ops that differ, in the order of the second file. `options`: of each op of each file."""
    constants = [frozenset(stored_constants(subgraph)) for subgraph in (match.before, match.after)]
    for one, other in match.pairs:
        before, after = (
            _facts(match.before, one, constants[0], options[0][one.index]),
            _facts(match.after, other, constants[1], options[1][other.index]),
        )
        keys = dict.fromkeys([*before, *after] if one.type == other.type else COMPARABLE)
        changes = [FactChange(key, before.get(key, "none"), after.get(key, "none")) for key in keys]
        changes = [change for change in changes if change.before != change.after]
        if changes:
            name = _first_name(match.after, other)
            yield OperatorChange(match.after.index, one.index, other.index, other.type, name, tuple(changes))


def present_operator(subgraph: Subgraph, operator: Operator) -> PresentOperator:
    return PresentOperator(subgraph.index, operator.index, operator.type, _first_name(subgraph, operator))


def _first_name(subgraph: Subgraph, operator: Operator) -> str:
    return next((tensor.name for tensor in subgraph.written_by(operator)), "")


def _facts(subgraph: Subgraph, operator: Operator, constants: frozenset[int], options: Options) -> dict[str, str]:
    """Return everything that is compared, in words."""
    read = [index for index in operator.inputs if index != ABSENT]
    stored = stored_constants(subgraph)
    dtypes = {
        "inputs": [subgraph.tensors[index].dtype for index in read if index not in constants],
        "constants": [stored[index].dtype for index in read if index in constants],
        "outputs": [tensor.dtype for tensor in subgraph.written_by(operator)],
    }
    return {
        "type": operator.type,
        **{key: ", ".join(dict.fromkeys(names)) or "none" for key, names in dtypes.items()},
        "shape": ", ".join(str(list(tensor.shape_signature)) for tensor in subgraph.written_by(operator)),
        "number of inputs": str(len(read)),
        "fused function": operator.fused,
        "version": str(operator.version),
        **{_spaced(key): str(value) for key, value in options.items() if key not in IN_OTHER_FIELDS},
    }


def _spaced(name: str) -> str:
    """Return the name of an option as words, such as `stride w` for strideW."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
