"""DiffResult → JSON, with everything that differs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tflq.diff.file_diff import FileDiff, ReadFile
from tflq.diff.graph_diff import GraphDiff
from tflq.diff.outputs import OutputsDiff
from tflq.diff.run import DiffResult, PairDiff
from tflq.diff.verdict import pair_verdict, verdict
from tflq.errors import TflqError
from tflq.report.json_report import finite

SCHEMA_VERSION = 1


def to_json(result: DiffResult) -> str:
    """Return the diff as JSON. Within a schema version, keys are only added."""
    plain = {
        "schema_version": SCHEMA_VERSION,
        "before": result.before,
        "after": result.after,
        "exit_code": result.exit_code,
        "verdict": verdict(result),
        "samples": result.samples or None,
        "settings": [asdict(change) for change in result.settings],
        "files": [_pair(pair) for pair in result.pairs],
    }
    return json.dumps(finite(plain), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _pair(pair: PairDiff) -> dict[str, Any]:
    is_compared = isinstance(pair.diff, FileDiff)
    gates = pair.diff.gates if isinstance(pair.diff, FileDiff) else pair.gates
    return {
        "name": pair.name,
        "present": pair.present,
        "exit_code": pair.exit_code,
        "verdict": pair_verdict(pair),
        "error": str(pair.diff) if isinstance(pair.diff, TflqError) else None,
        "gates": [asdict(gate) for gate in gates],
        "identical": pair.diff.are_identical if isinstance(pair.diff, FileDiff) else None,
        "reported": [asdict(row) if row else None for row in pair.reported],
        **(_diff(pair.diff) if is_compared and isinstance(pair.diff, FileDiff) else {}),
    }


def _diff(diff: FileDiff) -> dict[str, Any]:
    return {
        "size_ratio": diff.size_ratio,
        "before": _file(diff.before),
        "after": _file(diff.after),
        "outputs": _outputs(diff.outputs),
        **_graph(diff.graph),
    }


def _file(each: ReadFile) -> dict[str, Any]:
    return {
        "path": str(each.path),
        "sha256": each.file.sha256,
        "size_bytes": each.file.size_bytes,
        "ops": each.file.ops,
        "float_ops": len(each.file.float_ops),
        "size_by_dtype": each.size_by_dtype,
        "minimum_runtime_version": each.runtime or None,
    }


def _outputs(outputs: OutputsDiff | TflqError | None) -> dict[str, Any] | None:
    if isinstance(outputs, TflqError):
        return {"error": str(outputs)}
    if outputs is None:
        return None
    plain = asdict(outputs)
    figures = plain.pop("figures")
    return {**plain, "samples": figures["samples"], "metric": figures["metric"], "fidelity": figures["fidelity"]}


def _graph(graph: GraphDiff) -> dict[str, Any]:
    plain = asdict(graph)
    plain["scales"] = [asdict(change) | {"ratio": change.ratio} for change in graph.scales]
    plain["renamed"] = [{"before": before, "after": after} for before, after in graph.renamed]
    return plain
