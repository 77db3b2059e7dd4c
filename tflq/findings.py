"""What the stages found, put together: drafts and records to the Result of the report."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflq import cache, scores
from tflq import recipe as recipes
from tflq.calibrate import Calibration, Gathered, Percentile
from tflq.errors import TflqError
from tflq.evaluate import Evaluation, Plan, Record
from tflq.inputs import oddities
from tflq.job import Begun, Calibrations, Draft
from tflq.recipe import Recipe
from tflq.result import Baseline, Data, Measured, Ranging, Result, Run, Training, Variant
from tflq.rules import Violation
from tflq.scores import with_gains
from tflq.trainer import Pupil
from tflq.worker import Done, Failed


@dataclass(frozen=True)
class Evidence:
    """What all variants have in common."""

    recipe: Recipe
    plan: Plan
    begun: Begun
    base: Record | TflqError
    """The float32 file's answers."""
    source: Record | TflqError
    calibrations: Calibrations | TflqError | None
    notes: tuple[str, ...]
    trained: Done[Pupil] | Failed | None


def conclude(evidence: Evidence, drafts: Sequence[Draft], run: Run) -> Result:
    """The result of a run."""
    recipe = evidence.recipe
    return Result(
        name=recipe.name,
        recipe=recipes.dump(recipe, recipe.output),
        environment=cache.versions(trains=recipe.training is not None) | {"python": platform.python_version()},
        warnings=(*_warnings(evidence), *_advice(evidence, drafts), *_unrefined(drafts)),
        calibration=_calibration(evidence),
        ranging=_ranging(evidence),
        evaluation=_evaluation(evidence),
        metric=recipe.measured_on.scoring.name if recipe.measured_on.scoring else None,
        baseline=_baseline(evidence),
        variants=with_gains([_variant(evidence, draft) for draft in drafts]),
        run=run,
        training=_training(evidence),
    )


def _warnings(evidence: Evidence) -> Iterator[str]:
    recipe, calibrations = evidence.recipe, evidence.calibrations
    yield from recipes.warnings(recipe)
    yield from evidence.notes
    for violation in evidence.begun.float32.violations:
        if violation.severity == "error":
            yield f"the float32 base line: {violation.where} {violation.message}"
    if isinstance(evidence.source, TflqError) and evidence.source is not evidence.base:
        yield f"the source could not be run in TensorFlow, so only its float32 file is the base line: {evidence.source}"
    gathered = _gathered(evidence)
    if recipe.calibration and gathered:
        yield from _fewer("calibration", recipe.calibration, len(gathered.rows))
        yield from oddities(gathered.summaries, recipe.inputs)
    if isinstance(calibrations, Calibrations) and calibrations.chosen:
        yield from calibrations.chosen.warnings
    if recipe.evaluation and isinstance(evidence.base, Record):
        measured, familiar = len(evidence.base.is_finite), int(evidence.base.is_familiar.sum())
        yield from _fewer("evaluation", recipe.evaluation, measured)
        if familiar:
            yield f"{familiar} of {measured} evaluation samples are calibration samples too, which flatters the figures"


def _unrefined(drafts: Sequence[Draft]) -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for draft in drafts:
        if draft.refinement and draft.refinement.fault:
            names.setdefault(draft.refinement.fault, []).append(draft.name)
    for fault, of in names.items():
        said = "bias correction and what else might help could not be tried, so nothing of it was done"
        yield f"{', '.join(of)}: {said}: {fault}"


def _advice(evidence: Evidence, drafts: Sequence[Draft]) -> Iterator[str]:
    """What is worth a trial, unless it was tried and kept."""
    calibrations = evidence.calibrations
    is_taken = any(draft.refinement is not None and draft.refinement.kept.mse for draft in drafts)
    if isinstance(calibrations, Calibrations) and calibrations.chosen and not is_taken:
        yield from calibrations.chosen.advice


def _fewer(name: str, section: Calibration | Evaluation, used: int) -> Iterator[str]:
    asked = section.samples if "samples" in section.model_fields_set else "all"
    if isinstance(asked, int) and used < asked:
        yield f"{name}.samples asks for {asked}, the dataset has {used}: all were used"


def _calibration(evidence: Evidence) -> Data | None:
    gathered = _gathered(evidence)
    if gathered is None or evidence.recipe.calibration is None:
        return None
    return Data(str(evidence.recipe.calibration.dataset), len(gathered.rows), gathered.total, gathered.summaries)


def _gathered(evidence: Evidence) -> Gathered | None:
    """The calibration samples, where they were of use."""
    if isinstance(evidence.calibrations, Calibrations):
        return evidence.calibrations.gathered
    found = evidence.begun.gathered if evidence.calibrations is None else None
    return found if isinstance(found, Gathered) else None


def _ranging(evidence: Evidence) -> Ranging | None:
    calibrations, asked = evidence.calibrations, evidence.recipe.calibration
    if not isinstance(calibrations, Calibrations) or asked is None:
        return None
    method = f"percentile {asked.ranges.percentile:g}" if isinstance(asked.ranges, Percentile) else asked.ranges
    found_by, chosen = calibrations.found_by, calibrations.chosen
    if chosen is None:
        return Ranging(method, found_by, None, None, ())
    activations = len(next(iter(chosen.by_bits.values())))
    return Ranging(method, found_by, chosen.reason, activations, chosen.clips)


def _evaluation(evidence: Evidence) -> Data:
    measured = len(evidence.base.is_finite) if isinstance(evidence.base, Record) else 0
    return Data(str(evidence.recipe.measured_on.dataset), measured, evidence.begun.probe.total, ())


def _baseline(evidence: Evidence) -> Baseline:
    metric, source = evidence.recipe.measured_on.scoring, evidence.source
    ran = None if isinstance(source, TflqError) else source
    return Baseline(
        source_bytes=evidence.plan.source.size_bytes,
        source_metric=scores.metric_value(metric, ran) if ran else None,
        source_error=str(source) if isinstance(source, TflqError) else None,
        float32_bytes=evidence.plan.float32.stat().st_size,
        float32_metric=scores.metric_value(metric, evidence.base) if isinstance(evidence.base, Record) else None,
        fidelity=scores.outputs(ran) if ran else {},
    )


def _variant(evidence: Evidence, draft: Draft) -> Variant:
    file = draft.verified.file if draft.verified else None
    ratio = file.size_bytes / evidence.plan.float32.stat().st_size if file else None
    measured = _measured(evidence, draft)
    return Variant(
        name=draft.name,
        mode=draft.variant.mode if draft.variant else None,
        file=file,
        size_ratio=ratio,
        measured=measured,
        gates=scores.gates(evidence.recipe.gates, file, ratio, measured) if file and ratio else (),
        violations=tuple(_violations(evidence, draft)),
        error=draft.error,
        is_reproduced=draft.is_reproduced,
        seconds=draft.seconds,
        is_trained=draft.variant is not None and draft.variant.trained,
        weighed=draft.weighed,
        refinement=draft.refinement,
    )


def _training(evidence: Evidence) -> Training | None:
    given, trained = evidence.recipe.training, evidence.trained
    if given is None or not isinstance(trained, Done):
        return None
    made = trained.value.trained
    return Training(
        dataset=str(given.dataset),
        samples=made.samples,
        of=made.total,
        loss=given.loss,
        from_logits=made.from_logits,
        metric=made.metric,
        phases=made.phases,
        skipped_layers=made.skipped,
        seconds=trained.seconds,
    )


def _measured(evidence: Evidence, draft: Draft) -> Measured | None:
    if draft.record is None or isinstance(evidence.base, TflqError):
        return None
    metric, bar = evidence.recipe.measured_on.scoring, evidence.recipe.gates.max_metric_drop
    score = scores.score(metric, evidence.base, draft.record, bar) if metric else None
    return Measured(score, scores.outputs(draft.record), draft.latency)


def _violations(evidence: Evidence, draft: Draft) -> Iterator[Violation]:
    if draft.is_reproduced is False:
        yield Violation("V0", "the file", "came out with other bytes when it was made again", "error")
    if draft.verified:
        yield from draft.verified.violations
    if draft.record and isinstance(evidence.base, Record):
        is_trained = draft.variant is not None and draft.variant.trained
        for violation in scores.suspicions(draft.record, evidence.base):
            if violation.severity == "error" or not is_trained:  # which may answer otherwise, and as well
                yield violation
        if isinstance(evidence.source, Record):
            yield from scores.strays(evidence.source)
