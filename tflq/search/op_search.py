"""Search for the fewest ops in float or in 16 bits: rank the ops by harm, bisect over the ranks, then prune."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tflq.flatbuffer import Graph
from tflq.modes import Mode
from tflq.op_dtypes import QUANTIZABLE
from tflq.op_selectors import select
from tflq.search.space import OP_KEYS, named_by_search, with_ops, with_option
from tflq.search.state import SearchState
from tflq.search_section import OpKey
from tflq.trials import Trial

MAX_UNITS = 48
"""If a graph has more ops, neighbouring ops are ranked together, in this many units. Pruning splits them again."""

FIRST_PARTS = 16
"""Pruning first divides the named ops into this many parts."""

Unit = tuple[int, ...]
"""The numbers of ops that are ranked together."""


def search_ops(state: SearchState, base: Trial, key: OpKey) -> None:
    """Look for the fewest ops to name under that key so that the base meets the constraints.

    The trials are added to the state. Raise BudgetExhausted if the limits end the search.
    """
    search, graph = _OpSearch(state, base, key), state.runner.graph
    ops = search.grow(_possible(graph, base.variant, key, search.rank(units(graph))))
    if ops:
        search.prune(ops)


def ranked_ops(state: SearchState, base: Trial) -> Unit:
    """Return the ops that compute in float, the most harmful in 8 bits first."""
    ranked = _OpSearch(state, base, "keep_float").rank(units(state.runner.graph))
    return tuple(op for unit in ranked for op in unit)


def prune(state: SearchState, trial: Trial) -> None:
    """Try the trial with fewer ops in float, then with fewer in 16 bits, as long as the constraints are met.

    The trials are added to the state. Raise BudgetExhausted if the limits end the search.
    """
    for key in OP_KEYS:
        if named := named_by_search(trial, state.space.recipe_trial(trial), key):
            _OpSearch(state, trial, key).prune(tuple(named))


def _possible(graph: Graph, variant: Mode, key: OpKey, units: Sequence[Unit]) -> list[Unit]:
    """Return the units without the ops that this key cannot name, because of their kernels or of the other key."""
    other = select(graph, variant.keep_int16 if key == "keep_float" else variant.keep_float, key)
    usable = {op.index for op in graph.subgraphs[0].operators if key == "keep_float" or op.type in QUANTIZABLE["int16"]}
    possible = [tuple(op for op in unit if op in usable - other) for unit in units]
    return [unit for unit in possible if unit]


def units(graph: Graph) -> list[Unit]:
    """Return the ops that compute in float, in the order of the graph, in at most MAX_UNITS units."""
    (subgraph, *_) = graph.subgraphs
    ops = [op.index for op in subgraph.operators if any(tensor.is_float for tensor in subgraph.written_by(op))]
    size = math.ceil(len(ops) / MAX_UNITS)
    return [tuple(ops[start : start + size]) for start in range(0, len(ops), size)] if ops else []


def neighbours(graph: Graph, units: Sequence[Unit]) -> list[set[int]]:
    """Return for each unit the places of the units that write its inputs or read its outputs."""
    (subgraph, *_) = graph.subgraphs
    place = {op: position for position, unit in enumerate(units) for op in unit}
    writers = {tensor: place[op.index] for op in subgraph.operators for tensor in op.outputs if op.index in place}
    adjacent: list[set[int]] = [set() for _ in units]
    for op in subgraph.operators:
        for other in (writers[tensor] for tensor in op.inputs if tensor in writers and op.index in place):
            adjacent[place[op.index]].add(other)
            adjacent[other].add(place[op.index])
    return adjacent


@dataclass(frozen=True)
class _OpSearch:
    state: SearchState
    base: Trial
    key: OpKey

    def keep(self, ops: Sequence[int]) -> Trial:
        return with_ops(self.base, self.state.space.recipe_trial(self.base), self.key, ops)

    def _in_float(self, ops: Sequence[int]) -> Trial:
        """Return the trial with those ops in float, which ranks ops for both keys: kernels of 16 bits are slow."""
        plain = with_option(self.base, "keep_int16", ())
        return with_ops(plain, self.state.space.recipe_trial(self.base), "keep_float", ops)

    def rank(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the units, sorted by the SQNR with only that unit in integers, the lowest first.

        The gain of one op in float would not rank ops: a tensor stays quantized while another op at it is quantized.
        """
        others = [_ops([*units[:place], *units[place + 1 :]]) for place in range(len(units))]
        alone = self.state.rank([self._in_float(ops) for ops in others])
        quality = {place: self.state.quality(result) for place, result in enumerate(alone) if result.figures}
        adjacent = neighbours(self.state.runner.graph, units)

        def order(place: int) -> tuple[float, bool, int]:
            """An op that is never in integers alone, such as a concatenation, ranks as its most harmful neighbour."""
            nearest = min((quality[other] for other in adjacent[place] if other in quality), default=math.inf)
            return quality.get(place, nearest), place not in quality, place

        return [units[place] for place in sorted(range(len(units)), key=order)]

    def grow(self, ranked: Sequence[Unit]) -> Unit | None:
        """Return the ops of the fewest first units that meet the constraints, by doubling and bisection.

        Return None if none meet, or if a file that meets costs no less than the bound.
        """
        sizes = [2**power for power in range(len(ranked).bit_length()) if 2**power < len(ranked)]
        sizes += [len(ranked) - 1] if len(ranked) > 1 else []
        tried = self.state.run([self.keep(_ops(ranked[:size])) for size in sizes])
        results = dict(zip(sizes, tried, strict=True))
        met = [size for size, result in results.items() if self.state.meets(result)]
        if not met:
            return None
        high = met[0]
        low = max((size for size in sizes if size < high), default=0)
        while high - low > 1 and (low == 0 or self.state.is_cheaper(results[low])):
            middle = (low + high) // 2
            (results[middle],) = self.state.run([self.keep(_ops(ranked[:middle]))])
            low, high = (low, middle) if self.state.meets(results[middle]) else (middle, high)
        return _ops(ranked[:high]) if self.state.is_cheaper(results[high]) else None

    def prune(self, kept_ops: Unit) -> None:
        """Quantize parts of the kept ops as long as the constraints are met: large parts first, single ops last."""
        size = math.ceil(len(kept_ops) / FIRST_PARTS)
        while kept_ops and size:
            parts = [kept_ops[start : start + size] for start in range(0, len(kept_ops), size)]
            results = self.state.run([self.keep(_without(kept_ops, [part])) for part in parts])
            spare = [(result, part) for result, part in zip(results, parts, strict=True) if self.state.meets(result)]
            spare.sort(key=lambda pair: -self.state.quality(pair[0]))
            if spare:
                kept_ops = self._without_most(kept_ops, [part for _, part in spare])
            else:
                size = math.ceil(size / 2) if size > 1 else 0

    def _without_most(self, kept_ops: Unit, spare: Sequence[Unit]) -> Unit:
        """Return the kept ops without the first spare part and as many more as the constraints allow."""
        low, high = 1, len(spare) + 1
        while high - low > 1:
            middle = (low + high) // 2
            (result,) = self.state.run([self.keep(_without(kept_ops, spare[:middle]))])
            low, high = (middle, high) if self.state.meets(result) else (low, middle)
        return _without(kept_ops, spare[:low])


def _without(kept_ops: Unit, parts: Sequence[Unit]) -> Unit:
    removed = {op for part in parts for op in part}
    return tuple(op for op in kept_ops if op not in removed)


def _ops(units: Sequence[Unit]) -> Unit:
    return tuple(sorted(op for unit in units for op in unit))
