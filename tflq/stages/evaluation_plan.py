"""The plan of a measurement."""

from __future__ import annotations

from tflq.calibrate.samples import CalibrationSamples
from tflq.evaluate.plan import EvaluationPlan
from tflq.sources.prepared import PreparedSource
from tflq.stages.context import RunContext
from tflq.stages.state import PreparedRun


def evaluation_plan(context: RunContext, source: PreparedSource, prepared: PreparedRun) -> EvaluationPlan:
    """Return the plan of the measurement, still without the files to measure."""
    samples = prepared.calibration_samples
    return EvaluationPlan(
        evaluation=context.recipe.measured_on,
        inputs=context.recipe.inputs,
        source=source,
        float32=prepared.float32.path,
        first=prepared.evaluation_rows.arrays,
        files={},
        calibrated_with=frozenset(samples.hashes if isinstance(samples, CalibrationSamples) else ()),
    )
