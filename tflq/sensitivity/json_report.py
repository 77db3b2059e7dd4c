"""Outcome → sensitivity.json, the contract for machines."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from tflq.sensitivity.ablation import OpEffect
from tflq.sensitivity.sensitivity_result import SensitivityResult
from tflq.trials import TrialResult

SCHEMA_VERSION = 1


def to_json(outcome: SensitivityResult) -> str:
    """Fields are only added within a schema version; the effects stand best first."""
    return json.dumps(_finite(to_dict(outcome)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(outcome: SensitivityResult) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": outcome.name,
        "variant": outcome.trial.variant.model_dump(mode="json"),
        "ranges": _tried_ranges(outcome),
        "is_relaxed": outcome.is_relaxed,
        "by": outcome.by,
        "samples": outcome.samples,
        "sqnr_db": outcome.decibels(outcome.base),
        "base": asdict(outcome.base),
        "weights_alone": {"sqnr_db": outcome.of_outputs(outcome.split.weights), **_outputs(outcome.split.weights)},
        "activations_alone": {
            "sqnr_db": outcome.of_outputs(outcome.split.activations),
            **_outputs(outcome.split.activations),
        },
        "first_bad": asdict(outcome.first_bad) | {"lost_db": outcome.first_bad.lost_db} if outcome.first_bad else None,
        "effects": [_effect(effect) for effect in outcome.effects],
        "remedies": [_remedy(outcome, tried) for tried in outcome.remedies],
        "tensors": [{"tensor": one.name, "op": one.operator, "sqnr_db": one.sqnr_db} for one in outcome.tensors],
        "notes": list(outcome.notes),
        "is_spent": outcome.is_spent,
    }


def _tried_ranges(outcome: SensitivityResult) -> Any:
    ranges = outcome.trial.ranges
    return ranges if isinstance(ranges, str) else ranges.model_dump()


def _outputs(outputs: Any) -> dict[str, Any]:
    return {"outputs": {name: asdict(near) for name, near in outputs.items()}}


def _effect(effect: OpEffect) -> dict[str, Any]:
    won = effect.won
    return {
        "name": effect.group.name,
        "ops": list(effect.group.ops),
        "types": list(effect.types),
        "tensor": effect.tensor,
        "sqnr_db": effect.sqnr_db,
        "readers": list(effect.readers),
        "alone_sqnr_db": effect.alone_db,
        "won": None
        if won is None
        else asdict(won)
        | {
            "db_per_kilobyte": won.db / (won.more_bytes / 1000) if won.more_bytes > 0 else None,
            "db_per_float_op": won.db / max(won.more_float_ops, 1),
        },
        "causes": [asdict(cause) for cause in effect.causes],
        "trials": {name: _tried(getattr(effect, name)) for name in ("in_float", "alone", "with_readers")},
    }


def _tried(tried: TrialResult | None) -> dict[str, Any] | None:
    if tried is None:
        return None
    return {"figures": asdict(tried.figures) if tried.figures else None, "reason": tried.reason}


def _remedy(outcome: SensitivityResult, tried: TrialResult) -> dict[str, Any]:
    won = outcome.decibels(tried.figures) - outcome.decibels(outcome.base) if tried.figures else None
    return {"what": tried.trial.in_words, "won_db": won, **(_tried(tried) or {})}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
