"""SearchResult → search.json. The same search yields the same bytes."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import asdict
from typing import Any

from tflq.calibrate.schema import Method, Percentile
from tflq.report.json_report import finite
from tflq.search.candidate import Candidate
from tflq.search.search_result import SearchResult, sentence
from tflq.search.space import OP_KEYS, named_by_search
from tflq.search.strategy import AblationResult, FoundTrial
from tflq.trials import TrialResult

SCHEMA_VERSION = 1


def to_json(outcome: SearchResult) -> str:
    """Return the text of search.json. Within a schema version, fields are only added."""
    return json.dumps(finite(to_dict(outcome)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(outcome: SearchResult) -> dict[str, Any]:
    """Return the contents of search.json as plain values."""
    numbers = {id(result): number for number, result in enumerate(outcome.results)}
    return {
        "schema_version": SCHEMA_VERSION,
        "tflq": importlib.metadata.version("tflq"),
        "name": outcome.name,
        "goal": outcome.goal,
        "targets": list(outcome.targets),
        "bars": {constraint.kind: constraint.value for constraint in outcome.told},
        "samples": outcome.samples,
        "rows": {"deciding": outcome.rows.selection, "confirming": outcome.rows.confirmation},
        "needs_rows": outcome.needs_rows,
        "metric": outcome.metric,
        "float32_bytes": outcome.float32_bytes,
        "verdict": _verdict(outcome),
        "sentence": sentence(outcome),
        "limits_ended_it": outcome.is_spent,
        "found": _found(outcome, outcome.found) if outcome.found else None,
        "closest": _named(outcome, outcome.closest) if outcome.closest and not outcome.found else None,
        "tried_first": [number for number, result in enumerate(outcome.results) if _is_free(outcome, result)],
        "bound": _named(outcome, outcome.bound.confirmation) if outcome.bound else None,
        "refuted": [_refuted(outcome, candidate) for candidate in outcome.refuted],
        "front": [numbers[id(result)] for result in outcome.front],
        "made": outcome.trials,
        "confirmations": outcome.confirmations,
        "trials": [_trial(outcome, result) for result in outcome.results],
        "exit_code": outcome.exit_code,
    }


def _verdict(outcome: SearchResult) -> str:
    if outcome.found is None:
        return "not met"
    return "met" if outcome.is_certain else "met, not for certain"


def _is_free(outcome: SearchResult, result: TrialResult) -> bool:
    return result.trial.variant in outcome.space.free


def _refuted(outcome: SearchResult, candidate: Candidate) -> dict[str, Any]:
    """Return the candidate with its figures on the confirmation samples, and in `deciding` on the selection samples."""
    before = candidate.selection.figures
    return _named(outcome, candidate.confirmation) | {"deciding": asdict(before) if before else None}


def _found(outcome: SearchResult, found: FoundTrial) -> dict[str, Any]:
    """Return the found trial. The keys `deciding` and `confirming` are the selection and confirmation samples."""
    return {
        "deciding": _named(outcome, found.selection),
        "confirming": _named(outcome, found.confirmation),
        "needed": [_ablation(outcome, ablation) for ablation in found.ablations],
    }


def _ablation(outcome: SearchResult, ablation: AblationResult) -> dict[str, Any]:
    op = ablation.change.op
    return {
        "key": ablation.change.key,
        "op": None if op is None else _op(outcome, op),
        "is_met_without": ablation.is_met,
        "without": _trial(outcome, ablation.result),
    }


def _named(outcome: SearchResult, result: TrialResult) -> dict[str, Any]:
    """Return the trial with types and names of the ops in float and in 16 bits, beside their numbers."""
    plain = _trial(outcome, result)
    return plain | {key: [_op(outcome, op) for op in plain[key]] for key in ("kept_in_float", "in_int16")}


def _op(outcome: SearchResult, op: int) -> dict[str, Any]:
    return {"index": op, "type": outcome.types[op], "name": outcome.names[op]}


def _trial(outcome: SearchResult, result: TrialResult) -> dict[str, Any]:
    trial = result.trial
    return {
        "trial": trial.in_words,
        "mode": trial.variant.mode,
        "ranges": _method(trial.ranges) if trial.variant.needs_ranges else None,
        "options": trial.variant.model_dump(mode="json", exclude={"mode", "name", "trained", *OP_KEYS}),
        "kept_in_float": named_by_search(trial, outcome.space.recipe_trial(trial), "keep_float"),
        "in_int16": named_by_search(trial, outcome.space.recipe_trial(trial), "keep_int16"),
        "figures": asdict(result.figures) if result.figures else None,
        "meets": {constraint.kind: constraint.violation(result.figures) <= 0 for constraint in outcome.told}
        if result.figures
        else None,
        "reason": result.reason or None,
    }


def _method(method: Method) -> Any:
    return method.model_dump() if isinstance(method, Percentile) else method
