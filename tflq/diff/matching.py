"""Which op of one file is which op of the other one.

Names alone mislead, because Keras numbers its layers anew in each session. The order alone misleads if ops were moved.
So ops are matched both ways, and the way in which more of the matched ops are alike is used.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from tflq.contract import ADAPTORS
from tflq.diff.likeness import Likeness
from tflq.flatbuffer import Operator, Subgraph

MAX_CELLS = 200_000
"""The largest number of pairs of ops that are compared with each other at once."""

Pair = tuple[int, int]
"""The number of an op in the first file, and the number of the same op in the second file."""


@dataclass(frozen=True)
class OperatorMatch:
    """The ops of two subgraphs: those that correspond, and those that only one of them has."""

    before: Subgraph
    after: Subgraph
    pairs: tuple[tuple[Operator, Operator], ...]
    """In the order of the second subgraph."""
    removed: tuple[Operator, ...]
    added: tuple[Operator, ...]


def match_operators(before: Subgraph, after: Subgraph) -> OperatorMatch:
    """Match the ops of two subgraphs, by name or by order, whichever finds more likeness."""
    likeness = Likeness(before, after)
    candidates = [_completed(anchors, likeness) for anchors in (_by_order(before, after), _by_name(before, after))]
    pairs = max(candidates, key=lambda found: sum(likeness.of(*pair) for pair in found))
    first, second = ({pair[side] for pair in pairs} for side in (0, 1))
    ordered = sorted(pairs, key=lambda pair: pair[1])
    return OperatorMatch(
        before,
        after,
        tuple((before.operators[one], after.operators[other]) for one, other in ordered),
        tuple(operator for operator in before.operators if operator.index not in first),
        tuple(operator for operator in after.operators if operator.index not in second),
    )


def _by_order(before: Subgraph, after: Subgraph) -> list[Pair]:
    """Return all pairs in order if both have the same types of ops, without adaptors; else no pairs."""
    ours, theirs = (
        [operator for operator in subgraph.operators if operator.type not in ADAPTORS] for subgraph in (before, after)
    )
    if [operator.type for operator in ours] != [operator.type for operator in theirs]:
        return []
    return [(one.index, other.index) for one, other in zip(ours, theirs, strict=True)]


def _by_name(before: Subgraph, after: Subgraph) -> list[Pair]:
    """Return the pairs of ops of one type whose first output has the same name, in any order."""
    places = _places(after)
    return [(number, places[key]) for key, number in _places(before).items() if key in places]


def _places(subgraph: Subgraph) -> dict[tuple[str, str], int]:
    """Map the type and the name of the first output to the number of the op, if only one op has them."""
    keys = {
        operator.index: (operator.type, subgraph.tensors[operator.outputs[0]].name)
        for operator in subgraph.operators
        if operator.outputs and operator.outputs[0] >= 0
    }
    counts = Counter(keys.values())
    return {key: number for number, key in keys.items() if counts[key] == 1 and key[1]}


def _completed(anchors: Sequence[Pair], likeness: Likeness) -> list[Pair]:
    """Return the anchors, and pairs of the ops that lie between the same two anchors in both subgraphs."""
    taken = ({pair[side] for pair in anchors} for side in (0, 1))
    free = [
        [number for number in range(len(subgraph.operators)) if number not in used]
        for subgraph, used in zip((likeness.before, likeness.after), taken, strict=True)
    ]
    fences = [*_increasing(anchors), (len(likeness.before.operators), len(likeness.after.operators))]
    pairs, start = list(anchors), [0, 0]
    for fence in fences:
        ends = [bisect_left(numbers, limit) for numbers, limit in zip(free, fence, strict=True)]
        pairs += _aligned(free[0][start[0] : ends[0]], free[1][start[1] : ends[1]], likeness)
        start = ends
    return pairs


def _increasing(anchors: Sequence[Pair]) -> list[Pair]:
    """Return the longest run of anchors that are in the same order in both subgraphs."""
    tails: list[int] = []
    lengths: list[tuple[int, Pair]] = []
    for one, other in sorted(anchors):
        place = bisect_left(tails, other)
        tails[place : place + 1] = [other]
        lengths.append((place, (one, other)))
    longest: list[Pair] = []
    wanted = len(tails) - 1
    for place, pair in reversed(lengths):
        if place == wanted and (not longest or pair[1] < longest[-1][1]):
            longest.append(pair)
            wanted -= 1
    return longest[::-1]


def _aligned(ours: Sequence[int], theirs: Sequence[int], likeness: Likeness) -> Iterator[Pair]:
    """Yield the pairs of the alignment in order with the greatest sum of likeness."""
    if not ours or not theirs:
        return
    if len(ours) * len(theirs) > MAX_CELLS:
        yield from _aligned_by_key(ours, theirs, likeness)
        return
    scores = np.array([[likeness.of(one, other) for other in theirs] for one in ours])
    best = np.zeros((len(ours) + 1, len(theirs) + 1))
    for i, row in enumerate(scores):
        with_pair = best[i, :-1] + row
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], with_pair))
    i, j = len(ours), len(theirs)
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            yield ours[i], theirs[j]


def _aligned_by_key(ours: Sequence[int], theirs: Sequence[int], likeness: Likeness) -> Iterator[Pair]:
    """Yield pairs of ops of the same type and output shape; this takes less time than to compare all pairs."""
    before = [likeness.key_before(number) for number in ours]
    after = [likeness.key_after(number) for number in theirs]
    for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
        yield from zip(ours[block.a : block.a + block.size], theirs[block.b : block.b + block.size], strict=True)
