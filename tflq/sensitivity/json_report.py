"""SensitivityResult → sensitivity.json."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from tflq.sensitivity.ablation import OpEffect, OpGain
from tflq.sensitivity.sensitivity_result import SensitivityResult
from tflq.trials import TrialResult

SCHEMA_VERSION = 1
WAYS = ("in_float", "alone", "with_readers", "in_int16", "int16_with_readers")
"""The trials of an effect."""


def to_json(outcome: SensitivityResult) -> str:
    """Return the text of sensitivity.json. Within a schema version, fields are only added."""
    return json.dumps(_finite(to_dict(outcome)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(outcome: SensitivityResult) -> dict[str, Any]:
    """Return the contents of sensitivity.json as plain values. The effects are sorted, the best first."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": outcome.name,
        "variant": outcome.trial.variant.model_dump(mode="json"),
        "ranges": _ranges(outcome),
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
        "remedies": [_remedy(outcome, result) for result in outcome.remedies],
        "tensors": [
            {"tensor": tensor.name, "op": tensor.operator, "sqnr_db": tensor.sqnr_db} for tensor in outcome.tensors
        ],
        "notes": list(outcome.notes),
        "is_spent": outcome.is_spent,
    }


def _ranges(outcome: SensitivityResult) -> Any:
    ranges = outcome.trial.ranges
    return ranges if isinstance(ranges, str) else ranges.model_dump()


def _outputs(outputs: Any) -> dict[str, Any]:
    return {"outputs": {name: asdict(near) for name, near in outputs.items()}}


def _effect(effect: OpEffect) -> dict[str, Any]:
    gain = effect.gain
    return {
        "name": effect.group.name,
        "ops": list(effect.group.ops),
        "types": list(effect.types),
        "tensor": effect.tensor,
        "sqnr_db": effect.sqnr_db,
        "readers": list(effect.readers),
        "alone_sqnr_db": effect.alone_db,
        "won": None if gain is None else _gain(gain) | {"db_per_float_op": gain.db / max(gain.more_float_ops, 1)},
        "won_in_int16": _gain(effect.int16_gain) if effect.int16_gain else None,
        "causes": [asdict(cause) for cause in effect.causes],
        "trials": {name: _result(getattr(effect, name)) for name in WAYS},
    }


def _gain(gain: OpGain) -> dict[str, Any]:
    per_kilobyte = gain.db / (gain.more_bytes / 1000) if gain.more_bytes > 0 else None
    return asdict(gain) | {"db_per_kilobyte": per_kilobyte}


def _result(result: TrialResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {"figures": asdict(result.figures) if result.figures else None, "reason": result.reason}


def _remedy(outcome: SensitivityResult, result: TrialResult) -> dict[str, Any]:
    gain = outcome.decibels(result.figures) - outcome.decibels(outcome.base) if result.figures else None
    return {"what": result.trial.in_words, "won_db": gain, **(_result(result) or {})}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
