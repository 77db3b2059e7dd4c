"""The first line of a diff: whether gates failed, and what differs, in words."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.batch.summary import VariantRow
from tflq.diff.file_diff import FileDiff
from tflq.diff.outputs import OutputsDiff
from tflq.diff.run import DiffResult, PairDiff
from tflq.errors import TflqError
from tflq.report.table import size

SMALL_SHARE = 0.0005
"""A smaller change of the size is given in bytes."""
MAX_VARIANTS = 4
"""The largest number of variants that the verdict of two folders describes."""


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
    changes = [
        f" {pair.name}: {'; '.join(_in_short(pair.diff, pair.reported))}." for pair in result.pairs if _differs(pair)
    ]
    more = f" {len(changes) - MAX_VARIANTS} more variants differ." if len(changes) > MAX_VARIANTS else ""
    intro = f"{_count(len(result.pairs), 'variant')} compared{f': {words}' if words else ''}."
    return intro + "".join(changes[:MAX_VARIANTS]) + more


def _differs(pair: PairDiff) -> bool:
    return isinstance(pair.diff, FileDiff) and not pair.diff.are_identical


def _in_short(
    diff: FileDiff | TflqError | None, reported: tuple[VariantRow | None, VariantRow | None]
) -> Iterator[str]:
    """Yield the size, and the metric or the SQNR of a variant: those measured here, or those of the reports."""
    if not isinstance(diff, FileDiff):
        return
    yield _sizes(diff)
    before, after = reported
    if diff.outputs is not None:
        yield from _outputs(diff)
    elif before and after and before.value is not None and after.value is not None and before.metric == after.metric:
        yield f"{after.metric} {before.value:.4f} → {after.value:.4f} ({after.value - before.value:+.4f})"
    elif before and after and before.sqnr_db is not None and after.sqnr_db is not None:
        yield f"SQNR {before.sqnr_db:.1f} → {after.sqnr_db:.1f} dB"


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
    share = abs(after / before - 1)
    amount = f"{share:.1%}" if share >= SMALL_SHARE else f"{abs(after - before):,} bytes"
    return f"{word} by {amount} ({arrow(size(before), size(after))})"


def arrow(before: str, after: str) -> str:
    """Return both values with an arrow between them, or the one value if they are equal."""
    return before if before == after else f"{before} → {after}"


def _structure(diff: FileDiff) -> Iterator[str]:
    graph = diff.graph
    retyped = sum(change.has_other_dtypes for change in graph.operators)
    float_ops = [len(each.file.float_ops) for each in (diff.before, diff.after)]
    if graph.ports:
        yield "other inputs or outputs"
    for number, noun, what in (
        (retyped, "op", "changed dtype"),
        (len(graph.operators) - retyped, "op", "changed otherwise"),
        (len(graph.added), "op", "added"),
        (len(graph.removed), "op", "removed"),
        (graph.changed_constants, "constant", "changed"),
        (len(graph.scales), "activation", "with another scale or zero point"),
    ):
        if number:
            yield f"{_count(number, noun)} {what}"
    if float_ops[0] != float_ops[1]:
        yield f"{float_ops[0]} → {float_ops[1]} ops in float"


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
