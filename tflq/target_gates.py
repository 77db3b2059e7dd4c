"""The gates of a recipe that concern targets: memory, flash, and whether a file runs whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflq.gates import Gates
from tflq.result import File, Gate
from tflq.targets import TargetVerdict, load


def target_gates(request: Gates, file: File, verdicts: Sequence[TargetVerdict]) -> Iterator[Gate]:
    """Yield a verdict for every gate of the recipe about targets."""
    if request.max_ram_kb is not None:
        needed = max((each.ram_bytes for each in verdicts if each.ram_bytes is not None), default=None)
        kilobytes = None if needed is None else needed / 1000
        passed = kilobytes is not None and kilobytes <= request.max_ram_kb
        yield Gate("max_ram_kb", request.max_ram_kb, kilobytes, passed, certain=True)
    if request.max_flash_kb is not None:
        kilobytes = file.size_bytes / 1000
        yield Gate("max_flash_kb", request.max_flash_kb, kilobytes, kilobytes <= request.max_flash_kb, certain=True)
    by_name = {verdict.target: verdict for verdict in verdicts}
    for name in request.runs_whole_on:
        target = load(name).name
        verdict = by_name.get(target)
        share = None if verdict is None else 1 - verdict.share
        passed = verdict is not None and verdict.outcome == "runs whole"
        said = verdict.in_words if verdict else "it was not checked"
        reason = "" if passed else f"runs_whole_on {target}: {said}"
        yield Gate(f"runs_whole_on {target}", 1.0, share, passed, certain=True, reason=reason)
