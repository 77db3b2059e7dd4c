"""Summary → summary.md, for people, a pull request or a job's page."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.batch.summary import BatchSummary, Model, VariantRow
from tflq.report.table import markdown_table, size

HEADER = ("model", "variant", "size", "ratio", "metric", "drop", "SQNR dB", "agree", "ms", "verdict")
LONGEST = 400
"""Characters of a reason that the page shows; the report of the model has it all."""


def to_markdown(summary: BatchSummary) -> str:
    """One page: the totals, what is worse than before, what failed and why, every variant, the slowest stages."""
    blocks = [f"# {headline(summary)}", totals(summary), *_regressions(summary), *_failures(summary)]
    blocks += [markdown_table(HEADER, [tuple(map(_flat, row)) for row in table(summary)]), LEGEND, *_slowest(summary)]
    return "\n\n".join(blocks) + "\n"


LEGEND = (
    "Ratio, drop, SQNR and agree are against the float32 file on the same samples. ms: one call, timed beside whatever"
    " else was being made."
)


def headline(summary: BatchSummary) -> str:
    if summary.was_interrupted:
        return "Interrupted"
    return "All is well" if summary.exit_code == 0 else f"Not all is well: exit code {summary.exit_code}"


def totals(summary: BatchSummary) -> str:
    models, variants = (
        ", ".join(f"{n} {key}" for key, n in count.items()) for count in (summary.states, summary.verdicts)
    )
    made = f" Variants: {variants}; {size(summary.size_bytes)} in all." if variants else ""
    return f"Models: {models}.{made} It took {summary.seconds:.1f} s."


def table(summary: BatchSummary) -> Iterator[tuple[str, ...]]:
    """A row for every variant; of a model that has none, a row of its own."""
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
        yield "## Worse than before"
        yield "\n".join(f"- **{one.model}** {one.variant}: {one.what}" for one in summary.regressions)


def _failures(summary: BatchSummary) -> Iterator[str]:
    lines = [line for model in summary.models for line in reasons(model)]
    left = [model for model in summary.models if model.state == "not reached"]
    if left:
        lines.append((", ".join(model.name for model in left), f"not reached: {left[0].why}"))
    if lines:
        yield "## What is not well"
        yield "\n".join(f"- **{name}**: {_flat(why)}" for name, why in lines)


def reasons(model: Model) -> Iterator[tuple[str, str]]:
    """What failed of the model or its variants, by name, and why."""
    if model.state == "failed" and not model.rows:
        yield model.name, model.why
    yield from ((f"{model.name} {row.name}", row.why) for row in model.rows if row.why)


def _flat(text: str) -> str:
    """In one line of Markdown."""
    line = " ".join(text.split()).replace("<", "&lt;")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _slowest(summary: BatchSummary) -> Iterator[str]:
    if summary.slowest:
        yield "## The slowest stages"
        rows = [(_flat(model), _flat(stage), f"{s:.1f}") for model, stage, s in summary.slowest]
        yield markdown_table(("model", "stage", "seconds"), rows)
