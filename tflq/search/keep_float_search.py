"""The least to keep in float: ops ranked by the harm that each does, a bisection over the ranks, then pruning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tflq.flatbuffer import Graph
from tflq.search.space import keeping, kept_by_search
from tflq.search.state import SearchState
from tflq.trials import Trial

UNITS = 48
"""A graph with more ops is ranked in so many runs of neighbours, which pruning takes apart again."""

PARTS = 16
"""What is kept in float is pruned by so many parts of it at first."""

Unit = tuple[int, ...]


def search_keep_float(state: SearchState, base: Trial) -> None:
    """Leave among what was tried a mend of the base that meets the bars, where there is one; raises Spent."""
    mender = _KeepFloatSearch(state, base)
    grown = mender.grown(mender.ranked(units(state.runner.graph)))
    if grown:
        mender.pruned(grown)


def prune(state: SearchState, trial: Trial) -> None:
    """Leave among what was tried the trial with the ops in float that it needs, and no others; raises Spent."""
    _KeepFloatSearch(state, trial).pruned(tuple(kept_by_search(trial, state.space.recipe_trial(trial))))


def units(graph: Graph) -> list[Unit]:
    """The ops that compute on floats, as they follow each other, in at most UNITS runs."""
    (subgraph, *_) = graph.subgraphs
    ops = [op.index for op in subgraph.operators if any(tensor.is_float for tensor in subgraph.written_by(op))]
    size = math.ceil(len(ops) / UNITS)
    return [tuple(ops[start : start + size]) for start in range(0, len(ops), size)] if ops else []


def neighbours(graph: Graph, some: Sequence[Unit]) -> list[set[int]]:
    """For each unit the places of those that make what it reads, or read what it makes."""
    (subgraph, *_) = graph.subgraphs
    place = {op: position for position, unit in enumerate(some) for op in unit}
    maker = {tensor: place[op.index] for op in subgraph.operators for tensor in op.outputs if op.index in place}
    beside: list[set[int]] = [set() for _ in some]
    for op in subgraph.operators:
        for other in (maker[tensor] for tensor in op.inputs if tensor in maker and op.index in place):
            beside[place[op.index]].add(other)
            beside[other].add(place[op.index])
    return beside


@dataclass(frozen=True)
class _KeepFloatSearch:
    state: SearchState
    base: Trial

    def keep(self, ops: Sequence[int]) -> Trial:
        return keeping(self.base, self.state.space.recipe_trial(self.base), ops)

    def ranked(self, some: Sequence[Unit]) -> list[Unit]:
        """The units, what does most harm where it alone is in integers coming first.

        What one op in float wins would not tell: a tensor is quantized as long as one of the ops at it is.
        """
        alone = self.state.rank([self.keep(_ops([*some[:place], *some[place + 1 :]])) for place in range(len(some))])
        known = {place: self.state.quality(one) for place, one in enumerate(alone) if one.figures}
        beside = neighbours(self.state.runner.graph, some)

        def harm(place: int) -> tuple[float, bool, int]:
            """Of what is never in integers alone, such as a concatenation, that of what it stands beside."""
            nearest = min((known[other] for other in beside[place] if other in known), default=math.inf)
            return known.get(place, nearest), place not in known, place

        return [some[place] for place in sorted(range(len(some)), key=harm)]

    def grown(self, ranked: Sequence[Unit]) -> Unit | None:
        """The ops of the fewest first units that meet the bars, found by doubling and bisection."""
        sizes = [2**power for power in range(len(ranked).bit_length()) if 2**power < len(ranked)]
        sizes += [len(ranked) - 1] if len(ranked) > 1 else []
        tried = self.state.run([self.keep(_ops(ranked[:size])) for size in sizes])
        met = [size for size, one in zip(sizes, tried, strict=True) if self.state.meets(one)]
        if not met:
            return None
        high = met[0]
        low = max((size for size in sizes if size < high), default=0)
        while high - low > 1:
            middle = (low + high) // 2
            (one,) = self.state.run([self.keep(_ops(ranked[:middle]))])
            low, high = (low, middle) if self.state.meets(one) else (middle, high)
        return _ops(ranked[:high])

    def pruned(self, kept: Unit) -> None:
        """Take back parts of it, PARTS at first and single ops last, as long as the bars are met."""
        size = math.ceil(len(kept) / PARTS)
        while kept and size:
            parts = [kept[start : start + size] for start in range(0, len(kept), size)]
            tried = self.state.run([self.keep(_without(kept, [part])) for part in parts])
            spare = [(one, part) for one, part in zip(tried, parts, strict=True) if self.state.meets(one)]
            spare.sort(key=lambda pair: -self.state.quality(pair[0]))
            if spare:
                kept = self._without_most(kept, [part for _, part in spare])
            else:
                size = math.ceil(size / 2) if size > 1 else 0

    def _without_most(self, kept: Unit, spare: Sequence[Unit]) -> Unit:
        """Without the first of those parts, and as many more of them as the bars let go with it."""
        low, high = 1, len(spare) + 1
        while high - low > 1:
            middle = (low + high) // 2
            (one,) = self.state.run([self.keep(_without(kept, spare[:middle]))])
            low, high = (middle, high) if self.state.meets(one) else (low, middle)
        return _without(kept, spare[:low])


def _without(kept: Unit, parts: Sequence[Unit]) -> Unit:
    gone = {op for part in parts for op in part}
    return tuple(op for op in kept if op not in gone)


def _ops(some: Sequence[Unit]) -> Unit:
    return tuple(sorted(op for unit in some for op in unit))
