"""Summary → summary.md, the page for people, a pull request or the page of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tflq.batch.summary import BatchSummary, Model, VariantRow
from tflq.report.table import markdown_table, plain_markdown, size

HEADER = ("model", "variant", "size", "ratio", "metric", "drop", "SQNR dB", "agree", "ms", "verdict")
LONGEST = 400
"""The page shows this many characters of a reason. The report of the model has the whole text."""


def to_markdown(summary: BatchSummary) -> str:
    """Return one page: the totals, the regressions, the failures with reasons, all variants, the slowest stages."""
    blocks = [f"# {headline(summary)}", totals(summary), *_regressions(summary), *_failures(summary), *_poor(summary)]
    blocks += [markdown_table(HEADER, [tuple(map(_flat, row)) for row in table(summary)]), LEGEND, *_slowest(summary)]
    return plain_markdown("\n\n".join(blocks)) + "\n"


LEGEND = (
    "Ratio, drop, SQNR and agree compare a file with the float32 file on the same samples. The column ms is the time of"
    " one call. Other models may have run at the same time."
)


def headline(summary: BatchSummary) -> str:
    if summary.was_interrupted:
        return "Interrupted"
    return "All models passed" if summary.exit_code == 0 else f"Failed: exit code {summary.exit_code}"


def totals(summary: BatchSummary) -> str:
    models, variants = (
        ", ".join(f"{n} {key}" for key, n in count.items()) for count in (summary.states, summary.verdicts)
    )
    files = f" Variants: {variants}; {size(summary.size_bytes)} in total." if variants else ""
    return f"Models: {models}.{files} The batch took {summary.seconds:.1f} s."


def table(summary: BatchSummary) -> Iterator[tuple[str, ...]]:
    """Yield a row for every variant, and one row for a model without variants."""
    for model in summary.models:
        yield from (row_of(model, row) for row in model.rows)
        if not model.rows:
            yield (model.name, *[""] * 8, model.state)


def row_of(model: Model, row: VariantRow) -> tuple[str, ...]:
    return (
        model.name,
        row.name,
        "" if row.size_bytes is None else size(row.size_bytes),
        _number(row.size_ratio, ".2f"),
        _number(row.value, ".4f") and f"{row.metric} {row.value:.4f}",
        _number(row.drop, "+.4f"),
        _number(row.sqnr_db, ".1f") or ("equal" if row.is_measured else ""),
        _number(row.agreement, ".4f"),
        _number(row.latency_ms, ".3f"),
        row.status,
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _regressions(summary: BatchSummary) -> Iterator[str]:
    if summary.regressions:
        yield "## Regressions"
        yield "\n".join(f"- **{each.model}** {each.variant}: {each.what}" for each in summary.regressions)


def _failures(summary: BatchSummary) -> Iterator[str]:
    lines = [line for model in summary.models for line in reasons(model)]
    remaining = [model for model in summary.models if model.state == "not reached"]
    if remaining:
        lines.append((", ".join(model.name for model in remaining), f"not reached: {remaining[0].why}"))
    if lines:
        yield "## Failures"
        yield "\n".join(f"- **{name}**: {_flat(why)}" for name, why in lines)


def reasons(model: Model) -> Iterator[tuple[str, str]]:
    """Yield the name of each failed variant, or of the failed model, with the reason."""
    if model.state == "failed" and not model.rows:
        yield model.name, model.why
    yield from ((f"{model.name} {row.name}", row.why) for row in model.rows if row.why and row.status != "poor")


def _poor(summary: BatchSummary) -> Iterator[str]:
    every = [(model.name, row) for model in summary.models for row in model.rows]
    rows = [(f"{name} {row.name}", row.why) for name, row in every if row.status == "poor"]
    if rows:
        yield "## Poor outputs"
        yield "These files passed their gates. The report of the model has the likely cause."
        yield "\n".join(f"- **{name}**: {_flat(why)}" for name, why in rows)


def _flat(text: str) -> str:
    """Return the text as one line of Markdown, cut after LONGEST characters."""
    lines = text.splitlines()
    has_places = all(re.match(r"\S+:\d+: ", line) for line in lines)  # each line is an error of a recipe
    line = " ".join(("; " if has_places else " ").join(lines).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _slowest(summary: BatchSummary) -> Iterator[str]:
    if summary.slowest:
        yield "## Slowest stages"
        rows = [(_flat(model), _flat(stage), f"{s:.1f}") for model, stage, s in summary.slowest]
        yield markdown_table(("model", "stage", "seconds"), rows)
