"""The budgets of corrections: for comparing them, and for fitting them.

What would take out of proportion to calibration is not compared unless it is demanded. Small models are fitted to more
calls. Work is counted in multiply-adds, so that the choice is the same on every machine.
"""

from __future__ import annotations

from pathlib import Path

from tflq.cost_model import multiply_adds
from tflq.flatbuffer import mapped, mapped_content, read
from tflq.refine.correction_list import MODEL_CORRECTIONS
from tflq.refine.request import RefinementRequest
from tflq.refine.rounding import multiply_adds_of_fit
from tflq.refine.weighted_ops import layers

PASSES = 2
"""The number of times that calibration runs the model: for extremes, and for histograms."""
LEAST_BUDGET, SHARE = 5e11, 1.25
"""The budget for one correction: SHARE times the multiply-adds of calibration, or LEAST_BUDGET if that is more."""
MIN_FITTING_CALLS, MAX_FITTING_CALLS, FITTING_BUDGET = 24, 256, 2e10
"""The limits of the number of calls that corrections are fitted to, and the multiply-adds that these calls take.

Within the limits, the number follows from the multiply-adds.
"""


def beyond_budget(float32: Path, calls: int, request: RefinementRequest) -> tuple[str, ...]:
    """Return the keys of the open choices that are not compared for this float32 file with so many calls.

    A correction of the whole model needs a calibration of its own, and a fit of its own for all layers.
    """
    keys = tuple(each.key for each in MODEL_CORRECTIONS if each.key in request.open_choices)
    if not keys:
        return ()
    content = mapped_content(float32)
    calibration = PASSES * float(multiply_adds(read(content))) * calls
    work = calibration + sum(map(multiply_adds_of_fit, layers(content)))
    return keys if work > max(LEAST_BUDGET, SHARE * calibration) else ()


def max_fitting_calls(float32: Path) -> int:
    """Return the largest number of calls that statistics and channel factors are fitted to.

    A dense layer has one row of inputs in each call, so its statistics need many calls.
    """
    affordable = FITTING_BUDGET / max(1, multiply_adds(mapped(float32)))
    return int(min(max(affordable, MIN_FITTING_CALLS), MAX_FITTING_CALLS))


def evenly_spread(calls: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Return at most so many of the calls, at equal distances."""
    return calls[:: -(-len(calls) // most)]
