"""The least to keep in float: ops ranked by the harm that each does, a bisection over the ranks, then pruning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflq.flatbuffer import Graph
from tflq.search.space import keeping
from tflq.trials import Trial, Tried

if TYPE_CHECKING:
    from tflq.search.hunt import Hunt

UNITS = 48
"""A graph with more ops is ranked in so many runs of neighbours, which pruning takes apart again."""

Unit = tuple[int, ...]


def mend(hunt: Hunt, base: Trial) -> None:
    """Leave among what was tried a mend of the base that meets the bars, where there is one; raises Spent."""
    mender = _Mender(hunt, base)
    grown = mender.grown(mender.ranked(units(hunt.bench.graph)))
    if grown:
        mender.pruned(grown)


def units(graph: Graph) -> list[Unit]:
    """The ops that compute on floats, as they follow each other, in at most UNITS runs."""
    (subgraph, *_) = graph.subgraphs
    ops = [op.index for op in subgraph.operators if any(tensor.is_float for tensor in subgraph.written_by(op))]
    size = math.ceil(len(ops) / UNITS)
    return [tuple(ops[start : start + size]) for start in range(0, len(ops), size)] if ops else []


@dataclass(frozen=True)
class _Mender:
    hunt: Hunt
    base: Trial

    def keep(self, ops: Sequence[int]) -> Trial:
        return keeping(self.base, self.hunt.space.home(self.base), ops)

    def ranked(self, some: Sequence[Unit]) -> list[Unit]:
        """The units, what does most harm where it alone is in integers coming first.

        What one op in float wins would not tell: a tensor is quantized as long as one of the ops at it is.
        """
        alone = self.hunt.run([self.keep(_ops([*some[:place], *some[place + 1 :]])) for place in range(len(some))])
        quality = [self.hunt.quality(one) if one.figures else math.inf for one in alone]
        return [some[place] for place in sorted(range(len(some)), key=lambda place: (quality[place], place))]

    def grown(self, ranked: Sequence[Unit]) -> Unit | None:
        """The ops of the fewest first units that meet the bars, found by doubling and bisection."""
        sizes = [2**power for power in range(len(ranked).bit_length()) if 2**power < len(ranked)]
        sizes += [len(ranked) - 1] if len(ranked) > 1 else []
        tried = self.hunt.run([self.keep(_ops(ranked[:size])) for size in sizes])
        met = [size for size, one in zip(sizes, tried, strict=True) if self.hunt.meets(one)]
        if not met:
            return None
        high = met[0]
        low = max((size for size in sizes if size < high), default=0)
        while high - low > 1:
            middle = (low + high) // 2
            (one,) = self.hunt.run([self.keep(_ops(ranked[:middle]))])
            low, high = (low, middle) if self.hunt.meets(one) else (middle, high)
        return _ops(ranked[:high])

    def pruned(self, kept: Unit) -> None:
        """Take back parts of it, halves first and single ops last, as long as the bars are met."""
        size = math.ceil(len(kept) / 2)
        while size:
            parts = [kept[start : start + size] for start in range(0, len(kept), size)]
            rests = [tuple(op for op in kept if op not in part) for part in parts]
            best = self._best(self.hunt.run([self.keep(rest) for rest in rests]))
            if best is None:
                size = math.ceil(size / 2) if size > 1 else 0
            else:
                kept = rests[best]
                size = min(size, math.ceil(len(kept) / 2))

    def _best(self, tried: Sequence[Tried]) -> int | None:
        met = [place for place, one in enumerate(tried) if self.hunt.meets(one)]
        return min(met, key=lambda place: self.hunt.cost(tried[place]), default=None)


def _ops(some: Sequence[Unit]) -> Unit:
    return tuple(sorted(op for unit in some for op in unit))
