"""Result → report.json, the contract for machines."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import yaml

from tflq.errors import TflqError
from tflq.report import refinement, targets
from tflq.result import Result, Variant

SCHEMA_VERSION = 1


Report = Result | TflqError
"""A result, or the error of a run without a result."""


def to_json(report: Report | Sequence[Report]) -> str:
    """Return report.json, or a list if several reports are given. Within a schema version, keys are only added."""
    plain = [to_dict(each) for each in report] if isinstance(report, Sequence) else to_dict(report)
    return json.dumps(finite(plain), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(report: Report) -> dict[str, Any]:
    if isinstance(report, TflqError):
        return {"schema_version": SCHEMA_VERSION, "error": str(report), "exit_code": report.exit_code}
    return _result(report)


def _result(result: Result) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "tflq": result.environment["tflq"],
        "name": result.name,
        "recipe": yaml.safe_load(result.recipe),
        "recipe_sha256": hashlib.sha256(result.recipe.encode()).hexdigest(),
        "environment": result.environment,
        "warnings": list(result.warnings),
        "source": {"size_bytes": result.baseline.source_bytes},
        "calibration": asdict(result.calibration) if result.calibration else None,
        "ranges": asdict(result.range_report) if result.range_report else None,
        "evaluation": asdict(result.evaluation),
        "training": asdict(result.training) if result.training else None,
        "baseline": asdict(result.baseline),
        "variants": [_variant(variant) for variant in result.variants],
        "stages": [asdict(stage) for stage in result.run.stages],
        "seconds": result.run.seconds,
        "peak_rss_bytes": result.run.peak_rss_bytes,
        "exit_code": result.exit_code,
    }


def _variant(variant: Variant) -> dict[str, Any]:
    file, measured = variant.file, variant.measured
    return {
        "name": variant.name,
        "mode": variant.mode,
        "status": variant.status,
        "exit_code": variant.exit_code,
        "why": variant.why,
        "error": str(variant.error) if variant.error else None,
        "file": file.name if file else None,
        "sha256": file.sha256 if file else None,
        "size_bytes": file.size_bytes if file else None,
        "size_ratio": variant.size_ratio,
        "work": file.work if file else None,
        "ops": file.ops if file else None,
        "float_ops": [asdict(op) for op in file.float_ops] if file else None,
        "int16_ops": [asdict(op) for op in file.int16_ops] if file else None,
        "needs": list(file.needs) if file else None,
        "sparse_weights": [asdict(weights) for weights in file.sparse_weights] if file else None,
        "inputs": [asdict(port) for port in file.inputs] if file else None,
        "outputs": [asdict(port) for port in file.outputs] if file else None,
        "io": [asdict(row) for row in file.io] if file else None,
        "samples": measured.samples if measured else None,
        "metric": asdict(measured.metric) if measured and measured.metric else None,
        "fidelity": {name: asdict(output) for name, output in measured.fidelity.items()} if measured else None,
        "latency_ms": asdict(measured.latency_ms) if measured and measured.latency_ms else None,
        "refinement": refinement.to_dict(variant.refinement) if variant.refinement else None,
        "trained": variant.is_trained,
        "gain": asdict(variant.gain) | {"share": variant.gain.share} if variant.gain else None,
        "gzip_bytes": variant.compression.gzip_bytes if variant.compression else None,
        "weights": [asdict(weights) for weights in variant.compression.weights] if variant.compression else None,
        "gates": [asdict(gate) for gate in variant.gates],
        "targets": [targets.to_dict(verdict) for verdict in variant.targets],
        "artifacts": list(variant.artifacts),
        "findings": [asdict(finding) for finding in variant.findings],
        "violations": [asdict(violation) for violation in variant.violations],
        "reproduced": variant.is_reproduced,
        "seconds": variant.seconds,
    }


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
