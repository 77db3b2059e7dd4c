"""The first line of a diff: whether gates failed, and what differs, in words."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.diff.file_diff import FileDiff
from tflq.diff.outputs import OutputsDiff
from tflq.diff.run import DiffResult, PairDiff
from tflq.errors import TflqError
from tflq.report.table import size


def verdict(result: DiffResult) -> str:
    """Return the verdict of two files, or of all variants of two folders."""
    if not result.are_folders:
        (pair,) = result.pairs
        return pair_verdict(pair)
    counts = {
        "failed": sum(pair.exit_code != 0 for pair in result.pairs),
        "only in the first folder": sum(pair.present == "before" for pair in result.pairs),
        "only in the second folder": sum(pair.present == "after" for pair in result.pairs),
        "identical": sum(isinstance(pair.diff, FileDiff) and pair.diff.are_identical for pair in result.pairs),
    }
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{_count(len(result.pairs), 'variant')} compared{f': {words}' if words else ''}."


def pair_verdict(pair: PairDiff) -> str:
    """Return one line: failed gates first, then size, ops, constants and outputs."""
    match pair.diff:
        case None:
            return f"Only the {'first' if pair.present == 'before' else 'second'} folder has this file."
        case TflqError():
            return f"Cannot be compared: {pair.diff}"
        case _:
            return _sentence(pair.diff)


def _sentence(diff: FileDiff) -> str:
    failed = [gate.in_words for gate in diff.gates if not gate.passed]
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    text = "; ".join(_facts(diff))
    facts = f"{text[0].upper()}{text[1:]}."
    return f"Failed: {failed[0]}{more}. {facts}" if failed else facts


def _facts(diff: FileDiff) -> Iterator[str]:
    if diff.are_identical:
        yield "identical: both files have the same bytes"
        return
    yield _sizes(diff)
    structure = [*_structure(diff)]
    yield from structure or ["only names, metadata or the order of bytes differ"]
    yield from _outputs(diff)


def _sizes(diff: FileDiff) -> str:
    before, after = diff.before.file.size_bytes, diff.after.file.size_bytes
    if before == after:
        return f"same size ({size(after)})"
    word = "smaller" if after < before else "larger"
    return f"{word} by {abs(after / before - 1):.1%} ({arrow(size(before), size(after))})"


def arrow(before: str, after: str) -> str:
    """Return both values with an arrow between them, or the one value if they are equal."""
    return before if before == after else f"{before} → {after}"


def _structure(diff: FileDiff) -> Iterator[str]:
    graph = diff.graph
    retyped = sum(change.has_other_dtypes for change in graph.operators)
    others = len(graph.operators) - retyped
    if graph.ports:
        yield "other inputs or outputs"
    if retyped:
        yield f"{_count(retyped, 'op')} changed dtype"
    if others:
        yield f"{_count(others, 'op')} changed otherwise"
    if graph.added:
        yield f"{_count(len(graph.added), 'op')} added"
    if graph.removed:
        yield f"{_count(len(graph.removed), 'op')} removed"
    if graph.changed_constants:
        yield f"{_count(graph.changed_constants, 'constant')} changed"
    if graph.scales:
        yield f"{_count(len(graph.scales), 'activation')} with another scale"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _outputs(diff: FileDiff) -> Iterator[str]:
    match diff.outputs:
        case TflqError():
            yield "the outputs cannot be compared"
        case OutputsDiff() as outputs if outputs.are_equal:
            yield f"same outputs on {outputs.figures.samples:,} samples"
        case OutputsDiff() as outputs:
            yield from _accuracy(outputs)


def _accuracy(outputs: OutputsDiff) -> Iterator[str]:
    score, fidelity = outputs.figures.metric, outputs.figures.fidelity.values()
    if score and outputs.metric_before is not None:
        reach = (score.ci95[1] - score.ci95[0]) / 2
        change = score.value - outputs.metric_before
        yield f"{score.name} {outputs.metric_before:.4f} → {score.value:.4f} ({change:+.4f} ±{reach:.4f})"
    lowest = min((output.sqnr_db for output in fidelity if output.sqnr_db is not None), default=None)
    if lowest is not None:
        yield f"SQNR {lowest:.1f} dB against the first file"
    agreements = [output.agreement for output in fidelity if output.agreement is not None]
    if agreements:
        yield f"the top class agrees on {min(agreements):.1%} of {outputs.figures.samples:,} samples"
