"""VariantBuild → one line, for those who watch a run."""

from __future__ import annotations

from tflq import scores
from tflq.metrics.metric import Metric
from tflq.report.table import size, worst_fidelity
from tflq.stages import VariantBuild


def in_one_line(build: VariantBuild, metric: Metric | None) -> str:
    """Return the error of the variant, or its size and the figures that are known so far."""
    if build.error:
        return f"error: {str(build.error).splitlines()[0]}"
    parts = [size(build.path.stat().st_size)] if build.path else []
    if build.record:
        value, (sqnr, agreement) = (
            scores.metric_value(metric, build.record),
            worst_fidelity(scores.outputs(build.record)),
        )
        parts += [f"{metric.name} {value:.4f}"] if metric else []
        parts += [f"SQNR {sqnr} dB" if sqnr != "equal" else "equal outputs"]
        parts += [f"agreement {agreement}"] if agreement and sqnr != "equal" and not metric else []
    if build.verified and any(violation.severity == "error" for violation in build.verified.violations):
        parts.append("breaks the contract of its mode")
    return ", ".join(parts)
