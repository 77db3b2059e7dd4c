"""The order in which candidates are scored: some need quantized files that others write."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from tflq.refine import Fold, HoldoutCandidate, RefinementRequest

Scored = tuple[HoldoutCandidate, RefinementRequest, Fold]
"""A candidate of that request, and the fold with the hold-out calls that it is scored on."""


def in_rounds(scored: Iterable[Scored]) -> tuple[list[Scored], list[Scored]]:
    """Return the candidates in two rounds. The second needs quantized files that the first writes.

    Candidates that the quantizer is called for come first, since they take longest.
    """
    first, second, folders = list[Scored](), list[Scored](), set[Path]()
    for each in scored:
        (second if _waits(each, folders) else first).append(each)
        folders.add(each[0].templates)
    return sorted(first, key=_calls_quantizer, reverse=True), second


def _calls_quantizer(scored: Scored) -> bool:
    candidate, request, _ = scored
    return request.bits == 8 and candidate.base is None and not candidate.is_quantized


def _waits(scored: Scored, folders: Collection[Path]) -> bool:
    """Return whether the candidate needs a file that another one writes. `folders` are those of the ones before."""
    candidate, request, _ = scored
    if request.bits == 16 or candidate.is_quantized:
        return False
    return candidate.lacks_base or candidate.templates in folders
