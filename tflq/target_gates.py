"""The gates of a recipe that concern targets: memory, flash, time, and whether a file runs whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflq.gates import Gates
from tflq.result import File, Gate
from tflq.targets.shipped import load
from tflq.targets.target_verdict import TargetVerdict
from tflq.targets.tools import vela_command
from tflq.targets.vela import VELA_EXTRA


def target_gates(request: Gates, file: File, verdicts: Sequence[TargetVerdict]) -> Iterator[Gate]:
    """Yield a verdict for every gate of the recipe about targets."""
    if request.max_ram_kb is not None:
        sizes = [each.ram_bytes / 1000 for each in verdicts if each.ram_bytes is not None]
        yield _limit("max_ram_kb", request.max_ram_kb, max(sizes, default=None), _unknown(verdicts, bool(sizes)))
    if request.max_flash_kb is not None:
        largest = max((each.flash_bytes for each in verdicts), default=file.size_bytes)
        yield _limit("max_flash_kb", request.max_flash_kb, largest / 1000)
    if request.max_estimated_ms is not None:
        yield _time(request.max_estimated_ms, verdicts)
    yield from _whole(request.runs_whole_on, {verdict.target: verdict for verdict in verdicts})


def _whole(names: Sequence[str], by_name: dict[str, TargetVerdict]) -> Iterator[Gate]:
    for name in names:
        target = load(name).name
        verdict = by_name.get(target)
        share = None if verdict is None else 1 - verdict.share
        passed = verdict is not None and verdict.outcome == "runs whole"
        said = verdict.in_words if verdict else "it was not checked"
        reason = "" if passed else f"runs_whole_on {target}: {said}"
        yield Gate(f"runs_whole_on {target}", 1.0, share, passed, certain=True, reason=reason)


def _time(limit: float, verdicts: Sequence[TargetVerdict]) -> Gate:
    """Return the gate on the slowest target that has a model of time."""
    times = [each.estimated_ms for each in verdicts if each.estimated_ms is not None]
    untimed = [f"{each.target}: {each.untimed}" for each in verdicts if each.compiled is not None and each.untimed]
    is_too_slow = any(time > limit for time in times)
    reason = "" if is_too_slow else next(iter(untimed), "") or _unknown(verdicts, bool(times))
    return _limit("max_estimated_ms", limit, max(times, default=None), reason)


def _limit(name: str, limit: float, measured: float | None, reason: str = "") -> Gate:
    """Return the gate. It fails above the limit, if there is no value, or for the reason."""
    passed = measured is not None and measured <= limit and not reason
    return Gate(name, limit, measured, passed, certain=True, reason=f"{name}: {reason}" if reason else "")


def _unknown(verdicts: Sequence[TargetVerdict], is_known: bool) -> str:
    """Return what would tell the value, if no target does."""
    if is_known or not verdicts:
        return ""
    errors = [f"{each.target}: {each.compiled.error}" for each in verdicts if each.compiled and each.compiled.error]
    if errors:
        return errors[0]
    return "" if vela_command() else f"it is not known without the compiler of the target, which {VELA_EXTRA} installs"
