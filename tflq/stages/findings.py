"""The stage that looks for facts which make a file worse than it looks, and that compares the activations of files.

The comparison shows the causes of ruined outputs, and where along the graph accuracy goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tflq import findings, scores
from tflq.errors import EvaluationError
from tflq.evaluate.record import Record
from tflq.findings import RuinedFile
from tflq.result import Finding, LayerFigures
from tflq.scores import LowOutput
from tflq.stages import layers
from tflq.stages.context import RunContext
from tflq.stages.evaluation_plan import evaluation_plan
from tflq.stages.layers import ComparedLayers
from tflq.stages.measure import Measurement
from tflq.stages.state import ConvertibleSource, PreparedRun
from tflq.stages.variant_build import VariantBuild
from tflq.worker import BackgroundTask, Done, Failed, ProgressCallback, Task


def find(
    context: RunContext,
    measurement: Measurement,
    source: ConvertibleSource,
    prepared: PreparedRun,
    inspected: Mapping[str, BackgroundTask[tuple[Finding, ...]]],
) -> list[VariantBuild]:
    """Return the measured builds with their findings, and with the fidelity of their activations along the graph.

    `inspected` is that of `begin_inspection`.
    """
    builds = _with_static_findings(context, measurement.builds, inspected)
    layer_requests = layers.requests(context, builds, prepared)
    ruined: dict[str, RuinedFile] = {}
    for build in builds:
        request = _ruined_file(context, build, measurement, source, prepared)
        if request is not None:
            ruined[build.name] = replace(request, origin=build.origin or request.origin)
    if any(each.mode.startswith("int16x8") for each in ruined.values()):
        ruined = {name: replace(each, has_good_int16=False) for name, each in ruined.items()}
    compared = [build.name for build in builds if build.name in {*ruined, *layer_requests}]
    tasks = []
    for name in compared:
        arguments = ruined.get(name), layer_requests.get(name)
        tasks.append(Task(f"run {name} with all activations", _compare, arguments, EvaluationError))
    outcomes = dict(zip(compared, context.workers.run_all(tasks, context.jobs), strict=True))
    return [
        _with_outcome(build, ruined.get(build.name), build.name in layer_requests, outcomes[build.name])
        if build.name in outcomes
        else build
        for build in builds
    ]


def _compare(
    report: ProgressCallback, ruined: RuinedFile | None, request: ComparedLayers | None
) -> tuple[tuple[Finding, ...], LayerFigures | None]:
    """Return the findings about ruined outputs, and the figures along the graph, from the same calls if possible."""
    explanation = findings.explain(report, ruined) if ruined else None
    figures = layers.layer_figures(report, request, explanation) if request else None
    return explanation.findings if explanation else (), figures


def _with_outcome(
    build: VariantBuild,
    ruined: RuinedFile | None,
    has_layers: bool,
    outcome: Done[tuple[tuple[Finding, ...], LayerFigures | None]] | Failed,
) -> VariantBuild:
    """Return the build with what was found. If its files could not be compared, the findings have no cause."""
    if isinstance(outcome, Done):
        found, figures = outcome.value
        return replace(build, findings=(*found, *build.findings), layers=figures)
    found = tuple(findings.without_cause(ruined, f"the cause was not found: {outcome.error}")) if ruined else ()
    figures = LayerFigures(0, obstacle=str(outcome.error)) if has_layers else None
    return replace(build, findings=(*found, *build.findings), layers=figures)


def begin_inspection(
    context: RunContext, builds: Sequence[VariantBuild], prepared: PreparedRun
) -> Mapping[str, BackgroundTask[tuple[Finding, ...]]]:
    """Begin to inspect in the background what the constants and the size of each quantized file show, by its name."""
    return {
        build.name: context.workers.run_in_background(
            Task(
                f"inspect the constants of {build.name}",
                findings.static_findings,
                (build.origin or prepared.float32.path, build.path),
                EvaluationError,
            )
        )
        for build in builds
        if build.path and not build.error and not (build.variant and build.variant.mode == "float32")
    }


def _with_static_findings(
    context: RunContext, builds: Sequence[VariantBuild], inspected: Mapping[str, BackgroundTask[tuple[Finding, ...]]]
) -> list[VariantBuild]:
    """Return the builds with what their constants and their size show."""
    outcomes = dict(zip(inspected, context.workers.results([*inspected.values()], context.jobs), strict=True))
    return [
        replace(build, findings=_static(outcomes[build.name])) if build.name in outcomes and not build.error else build
        for build in builds
    ]


def _static(outcome: Done[tuple[Finding, ...]] | Failed) -> tuple[Finding, ...]:
    if isinstance(outcome, Done):
        return outcome.value
    message = f"could not be compared with the float32 file: {outcome.error}"
    return (Finding("constant", "constants of the file", message),)


def _ruined_file(
    context: RunContext,
    build: VariantBuild,
    measurement: Measurement,
    source: ConvertibleSource,
    prepared: PreparedRun,
) -> RuinedFile | None:
    """Return what to look at in a file with ruined outputs; None if all outputs are sound."""
    if build.record is None or build.path is None or build.error:
        return None
    low = _low(context, build, build.record, measurement, source)
    channels = {
        name: output.channels
        for name, output in scores.outputs(build.record).items()
        if output.channels and (output.channels.dead or output.channels.saturated)
    }
    if not low and not channels:
        return None
    plan = evaluation_plan(context, source.prepared, prepared)
    folder = context.folder / f"look at {build.name}"
    folder.mkdir()
    calls = max(layers.standard_calls(build), 1)
    rows = sorted(prepared.evaluation_rows.indices[: calls * (source.prepared.batch or 1)])
    mode = build.variant.mode if build.variant else ""
    constants = tuple(finding for finding in build.findings if finding.kind == "constant")
    return RuinedFile(plan, rows, plan.float32, build.path, mode, low, channels, constants, calls, folder)


def _low(
    context: RunContext, build: VariantBuild, record: Record, measurement: Measurement, source: ConvertibleSource
) -> tuple[LowOutput, ...]:
    """Return the outputs below a limit of the verdict. The outputs of a trained model may differ."""
    if build.variant is not None and build.variant.trained:
        return ()
    metric, limit = context.recipe.measured_on.scoring, context.recipe.gates.max_metric_drop
    scored: list[str] = []
    if metric and limit is not None and isinstance(measurement.float32, Record):
        base = measurement.float32.at(range(len(record.is_finite)))
        if scores.score(metric, base, record, limit).drop <= limit:
            scored = context.recipe.measured_on.scored([spec.name for spec in source.prepared.outputs])
    return tuple(scores.low_outputs(context.recipe.gates, record, scored))
