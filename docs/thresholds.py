"""The numbers by which tflq decides, read from the code, as a table for docs/explanation.md."""

from __future__ import annotations

from tflq.calibrate.headroom import FACTORS
from tflq.refine.cross_layer_equalization import EQUALIZATION_STRENGTH, MAX_FACTOR
from tflq.refine.gptq import DAMPING
from tflq.refine.holdout_score import CERTAIN_ERRORS, CERTAIN_GAIN_DB, CLEAR_GAIN_DB, MIN_CALLS, MIN_GAIN_DB
from tflq.refine.input_statistics import MAX_WIDTH
from tflq.refine.quantizer_input import MAX_HOLDOUT_CALLS, split_holdout
from tflq.refine.request import HEADROOM_OF_INT16
from tflq.stages.refine import MAX_FITTING_CALLS

CALLS = 40


def numbers() -> str:
    rows = [
        ("hold-out calls", f"{len(split_holdout(CALLS)[1])} of {CALLS}, at most {MAX_HOLDOUT_CALLS}"),
        ("calls that corrections are fitted to", f"at most {MAX_FITTING_CALLS}, evenly spread over the others"),
        ("least gain", f"{MIN_GAIN_DB:g} dB"),
        ("far", f"{CLEAR_GAIN_DB:g} dB"),
        ("sure", f"{CERTAIN_GAIN_DB:g} dB and {CERTAIN_ERRORS:g} standard errors, from {MIN_CALLS} hold-out calls on"),
        ("headroom that is tried", f"factors from {FACTORS.min():g} to {FACTORS.max():g}"),
        ("headroom for int16 if it is `auto`", f"{HEADROOM_OF_INT16:g}"),
        ("equalization", f"the ratio of sizes to the power of {EQUALIZATION_STRENGTH:g}, at most {MAX_FACTOR:g}"),
        ("GPTQ damping", f"{DAMPING:g} of the mean variance"),
        ("widest layer for GPTQ", f"{MAX_WIDTH:,} inputs for each output"),
    ]
    return "\n".join(["| what | value |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)])
