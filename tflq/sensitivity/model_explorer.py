"""SensitivityResult → an overlay for Google's Model Explorer: the SQNR of every activation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tflq.sensitivity.sensitivity_result import SensitivityResult

GRAPH = "main"
"""Model Explorer's name of the first subgraph of a file."""
MAX_DB = 100.0
"""The value of an activation without an error, and the largest value."""
COLOURS = (
    (10.0, "#d7191c", "#ffffff"),
    (20.0, "#fdae61", "#000000"),
    (30.0, "#ffffbf", "#000000"),
    (40.0, "#a6d96a", "#000000"),
)
"""The background and the text of nodes below an SQNR in dB."""
GOOD_COLOURS = ("#1a9641", "#ffffff")
"""The background and the text of all other nodes."""


def to_overlay(outcome: SensitivityResult) -> str:
    """Return the text of the overlay. It fits the float32 file and the quantized file.

    An activation has one entry for its name in each file. The values are those of aligned tensors, so corrections that
    rescale channels do not change them.
    """
    results = dict(_results(outcome))
    return json.dumps({GRAPH: {"results": results}}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _results(outcome: SensitivityResult) -> Iterator[tuple[str, dict[str, Any]]]:
    for activation in outcome.tensors:
        yield activation.name, _node(activation.sqnr_db)
    for activation in outcome.tensors:
        yield activation.quantized_name, _node(activation.sqnr_db)


def _node(sqnr_db: float) -> dict[str, Any]:
    background, text = next(((fill, ink) for limit, fill, ink in COLOURS if sqnr_db < limit), GOOD_COLOURS)
    return {"value": round(min(sqnr_db, MAX_DB), 2), "bgColor": background, "textColor": text}
