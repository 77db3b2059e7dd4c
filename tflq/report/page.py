"""Result → report.md, the report for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflq.calibrate.data_checks import RangeComparison
from tflq.report import fidelity, io_table
from tflq.report.problems import Problem, by_message, problems
from tflq.report.refinement import refinement
from tflq.report.table import markdown_table, plain_markdown, size, table
from tflq.report.training import training
from tflq.result import RangeReport, Result
from tflq.targets.target_verdict import kilobytes


def to_markdown(result: Result) -> str:
    """Return one page: notes, tables of variants and outputs, problems, ops in float, ranges, corrections, stages."""
    blocks = [
        f"# {result.name}",
        *_notes(result),
        markdown_table(table(result).header, table(result).rows),
        legend(result),
        *_problems(result),
        *_outputs(result),
        *training(result),
        *_float_ops(result),
        *_int16_ops(result),
        *_sparse_weights(result),
        *_targets(result),
        *_ranges(result),
        *refinement(result),
        *io_table.to_markdown(result),
        *_artifacts(result),
        "## How it was made",
        _stages(result),
    ]
    return plain_markdown("\n\n".join(blocks)) + "\n"


def _notes(result: Result) -> Iterator[str]:
    if result.warnings:
        yield "\n".join(f"> **Note:** {warning}" + "  " for warning in result.warnings)


def legend(result: Result) -> str:
    """Return what the columns of the table mean, in sentences."""
    data = result.evaluation
    total = f" of {data.of:,}" if data.of is not None else ""
    header = table(result).header
    has_fewer = "samples" in header
    figures = [name.split()[0] for name in ("ratio", "drop ±95 %", "SQNR dB", "agree") if name in header]
    text = f"Measured on {'at most ' if has_fewer else ''}{data.samples:,}{total} samples of {data.dataset}."
    if figures:
        text += f" {_and(figures)} compare a file with the float32 file on the same samples."
    if worst := [name for name in figures if name in ("SQNR", "agree")]:
        text += f" {_and(worst)} {'are those' if len(worst) > 1 else 'is that'} of the worst output."
    if result.baseline.source_samples is not None:
        text += " The source runs in TensorFlow."
    if has_fewer:
        text += (
            " Where the column samples has a number, measuring stopped there: the figures were precise, or many int16"
            " ops make the file slow. The order of the samples is the same for all files. `evaluation: {samples: all}`"
            " measures every file on all samples."
        )
    latencies = [v.measured.latency_ms for v in result.variants if v.measured and v.measured.latency_ms]
    if latencies:
        threads = latencies[0].threads
        text += (
            f" The column ms is the median time of one call on this machine, with {threads}"
            f" thread{'s' * (threads > 1)}. A phone or an accelerator has other times."
        )
    return text


def _and(names: Sequence[str]) -> str:
    """Return the names as the start of a sentence."""
    *first, last = names
    text = f"{', '.join(first)} and {last}" if first else last
    return text[0].upper() + text[1:]


def _problems(result: Result) -> Iterator[str]:
    every = ((variant.name, problem) for variant in result.variants for problem in problems(variant))
    lines = [_problem(names, problem) for names, problem in by_message(every)]
    if lines:
        yield "## Problems"
        yield "\n".join(f"- {line}" for line in lines)


def _problem(names: str, problem: Problem) -> str:
    kind = "" if problem.kind in ("no file", "uncertain") else f", {problem.kind}"
    return f"**{names}**{kind}: {problem.text}"


def _outputs(result: Result) -> Iterator[str]:
    shown = fidelity.outputs_table(result)
    if shown is None:
        return
    yield "## Outputs"
    has_images = "PSNR dB" in shown.header
    yield (
        "Each output is compared with that of the float32 file on the same samples. Cosine is the mean over samples of"
        " the cosine similarity. The largest error is absolute, in the unit of the output."
        + (" PSNR is that of images; its peak is the range of the float32 file's output." if has_images else "")
    )
    yield markdown_table(shown.header, shown.rows)


def _float_ops(result: Result) -> Iterator[str]:
    rows = [
        (variant.name, op.type, f"`{op.tensor}`", op.reason)
        for variant in result.variants
        if variant.file and variant.mode
        for op in variant.file.float_ops
    ]
    if rows:
        yield "## Left in float"
        yield markdown_table(("file", "op", "tensor", "reason"), rows)


def _int16_ops(result: Result) -> Iterator[str]:
    rows = [
        (variant.name, op.type, f"`{op.tensor}`")
        for variant in result.variants
        if variant.file
        for op in variant.file.int16_ops
    ]
    if rows:
        yield "## In 16 bits"
        yield markdown_table(("file", "op", "tensor"), rows)


def _sparse_weights(result: Result) -> Iterator[str]:
    rows = [
        (
            variant.name,
            each.op,
            f"`{each.tensor}`",
            f"{each.zeros:.1%}",
            kilobytes(each.size_bytes),
            kilobytes(each.saved_bytes),
        )
        for variant in result.variants
        if variant.file
        for each in variant.file.sparse_weights
    ]
    if rows:
        yield "## Sparse weights"
        yield markdown_table(("file", "op", "tensor", "zeros", "stored", "saved"), rows)


def _targets(result: Result) -> Iterator[str]:
    checked = [(variant.name, verdict) for variant in result.variants for verdict in variant.targets]
    if not checked:
        return
    yield "## Targets"
    rows = [(name, verdict.target, _ram(verdict.ram_bytes), verdict.in_words) for name, verdict in checked]
    yield markdown_table(("file", "target", "RAM", "verdict"), rows)
    not_known = dict.fromkeys(f"{each.target}: {sentence}" for _, each in checked for sentence in each.not_known)
    if not_known:
        yield "Not known:"
        yield "\n".join(f"- {sentence}" for sentence in not_known)


def _ram(ram_bytes: int | None) -> str:
    return "" if ram_bytes is None else kilobytes(ram_bytes)


def _ranges(result: Result) -> Iterator[str]:
    report = result.range_report
    if report is None:
        return
    yield "## Ranges"
    yield range_origin(report)
    if report.clips:
        yield "These activations have rare values far from the others. Each method keeps this part of the range:"
        used = "minmax" if report.method == "auto" else f"{report.method} (used)"
        header = ("activation", "lowest", "highest", used, "percentile 99.99", "mse")
        yield markdown_table(header, [_clip(clip) for clip in report.clips])


def range_origin(report: RangeReport) -> str:
    """Return how the ranges were found, in sentences."""
    method = (
        "minmax, or mse or a percentile if that is nearer on hold-out samples"
        if report.method == "auto"
        else report.method
    )
    count = "" if report.activations is None else f", for {report.activations} activations"
    origin = (
        "were observed in the float32 model" if report.found_by == "observation" else f"come from {report.found_by}"
    )
    reason = f", because {report.reason}" if report.reason else ""
    return f"Method: {method}{count}. The ranges {origin}{reason}."


def _clip(clip: RangeComparison) -> tuple[str, ...]:
    shares = (f"{share:.3g}" for share in (clip.chosen, clip.percentile, clip.mse))
    return (f"`{clip.tensor}`", f"{clip.lowest:.5g}", f"{clip.highest:.5g}", *shares)


def _artifacts(result: Result) -> Iterator[str]:
    """Yield the names of the source files of each variant."""
    lines = [
        f"- **{variant.name}**: {', '.join(f'`{name}`' for name in variant.artifacts)}"
        for variant in result.variants
        if variant.artifacts
    ]
    if lines:
        yield "## Source for firmware"
        yield "\n".join(lines)


def _stages(result: Result) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in result.environment.items())
    stages = "\n".join(f"| {stage.name} | {stage.seconds:.2f} |" for stage in result.run.stages)
    peak = size(result.run.peak_rss_bytes)
    total = f"The run took {result.run.seconds:.1f} s. The largest process used {peak}."
    return f"{versions}.\n\n{total}\n\n| stage | seconds |\n| --- | --- |\n{stages}"
