"""Result → report.md, the report for people."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.calibrate import RangeComparison
from tflq.report.refinement import refinement
from tflq.report.table import markdown_table, size, table
from tflq.report.training import training
from tflq.result import Port, Result, Variant


def to_markdown(result: Result) -> str:
    """One page: what to beware of, the table, what is wrong, what stayed in float, how to feed the files."""
    blocks = [
        f"# {result.name}",
        *_beware(result),
        markdown_table(table(result).header, table(result).rows),
        _legend(result),
        *_faults(result),
        *training(result),
        *_float_ops(result),
        *_ranges(result),
        *refinement(result),
        "## Inputs and outputs",
        "real = (q − zero_point) · scale; q = clip(round(real / scale) + zero_point).",
        markdown_table(("file", "", "name", "dtype", "shape", "scale", "zero point"), list(_ports(result))),
        "## How it was made",
        _made(result),
    ]
    return "\n\n".join(blocks) + "\n"


def _beware(result: Result) -> Iterator[str]:
    if result.warnings:
        yield "\n".join(f"> **Note:** {warning}" + "  " for warning in result.warnings)


def _legend(result: Result) -> str:
    used = result.evaluation
    of = f" of {used.of}" if used.of is not None else ""
    said = (
        f"Measured on {used.samples}{of} samples of {used.dataset}; ratio, drop, SQNR and agree are against the float32"
        " file on the same samples, SQNR and agree of the worst output. The source is run by TensorFlow."
    )
    timed = [v.measured.latency_ms for v in result.variants if v.measured and v.measured.latency_ms]
    if timed:
        said += (
            f" ms: median of one call on this machine, {timed[0].threads} thread{'s' * (timed[0].threads > 1)};"
            " it says little of a phone or an accelerator."
        )
    return said


def _faults(result: Result) -> Iterator[str]:
    found = [line for variant in result.variants for line in _faults_of(variant)]
    if found:
        yield "## What to look at"
        yield "\n".join(f"- {line}" for line in found)


def _faults_of(variant: Variant) -> Iterator[str]:
    if variant.error:
        yield f"**{variant.name}**: {variant.error}"
    for violation in variant.violations:
        yield f"**{variant.name}**, {violation.severity}: {violation.where} {violation.message}"
    for gate in variant.gates:
        if not gate.passed:
            yield f"**{variant.name}**, gate: {gate.in_words}"
    score = variant.measured.metric if variant.measured else None
    if score and score.samples_needed:
        yield f"**{variant.name}**: {score.samples} samples do not settle the drop; about {score.samples_needed} would"


def _float_ops(result: Result) -> Iterator[str]:
    rows = [
        (variant.name, op.type, f"`{op.tensor}`", op.reason)
        for variant in result.variants
        if variant.file and variant.has_integers
        for op in variant.file.float_ops
    ]
    if rows:
        yield "## Left in float"
        yield markdown_table(("file", "op", "tensor", "reason"), rows)


def _ranges(result: Result) -> Iterator[str]:
    found = result.range_report
    if found is None:
        return
    yield "## Ranges"
    how = "observed inside the float32 model" if found.found_by == "observation" else f"found by {found.found_by}"
    count = "" if found.activations is None else f" of {found.activations} activations"
    is_auto = found.method == "auto"
    method, other = ("minmax", ", or mse where that came nearer") if is_auto else (found.method, "")
    yield f"{method}{count}{other}, {how}{f', since {found.reason}' if found.reason else ''}."
    if found.clips:
        yield "Activations with rare values far from the rest, and the part of the range that each method keeps:"
        here = "minmax" if is_auto else f"{found.method}, here"
        header = ("activation", "lowest", "highest", here, "percentile 99.99", "mse")
        yield markdown_table(header, [_clip(clip) for clip in found.clips])


def _clip(clip: RangeComparison) -> tuple[str, ...]:
    kept = (f"{part:.3g}" for part in (clip.chosen, clip.percentile, clip.mse))
    return (f"`{clip.tensor}`", f"{clip.lowest:.5g}", f"{clip.highest:.5g}", *kept)


def _ports(result: Result) -> Iterator[tuple[str, ...]]:
    for variant in result.variants:
        if variant.file:
            for side, ports in (("in", variant.file.inputs), ("out", variant.file.outputs)):
                yield from (_port(variant.name, side, port) for port in ports)


def _port(name: str, side: str, port: Port) -> tuple[str, ...]:
    scale = "" if port.scale is None else f"{port.scale:.9g}"
    zero_point = "" if port.zero_point is None else str(port.zero_point)
    shape = "×".join("?" if length == -1 else str(length) for length in port.shape)
    return (name, side, port.name, port.dtype, shape, scale, zero_point)


def _made(result: Result) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in result.environment.items())
    stages = "\n".join(f"| {stage.name} | {stage.seconds:.2f} |" for stage in result.run.stages)
    peak = size(result.run.peak_rss_bytes)
    took = f"{result.run.seconds:.1f} s in all; the largest process took {peak}."
    return f"{versions}.\n\n{took}\n\n| stage | seconds |\n| --- | --- |\n{stages}"
