"""The numbers by which tflq decides, read from the code, as a table for docs/explanation.md."""

from __future__ import annotations

from tflq.calibrate.headroom import FACTORS
from tflq.job.refine import FIT
from tflq.refine.asked import HEADROOM_OF_INT16
from tflq.refine.attempt import FAR_DB, FEWEST, LEAST_GAIN_DB, SURE, SURE_DB
from tflq.refine.candidates import HELD_BACK, held_back
from tflq.refine.equalize import LARGEST, POWER
from tflq.refine.moments import WIDEST
from tflq.refine.rounding import DAMPING

CALLS = 40


def numbers() -> str:
    rows = [
        ("hold-out calls", f"{len(held_back(CALLS)[1])} of {CALLS}, at most {HELD_BACK}"),
        ("calls that corrections are fitted to", f"at most {FIT}, evenly spread over the others"),
        ("least gain", f"{LEAST_GAIN_DB:g} dB"),
        ("far", f"{FAR_DB:g} dB"),
        ("sure", f"{SURE_DB:g} dB and {SURE:g} standard errors, from {FEWEST} hold-out calls on"),
        ("headroom that is tried", f"factors from {FACTORS.min():g} to {FACTORS.max():g}"),
        ("headroom for int16 if it is `auto`", f"{HEADROOM_OF_INT16:g}"),
        ("equalization", f"the ratio of sizes to the power of {POWER:g}, at most {LARGEST:g}"),
        ("GPTQ damping", f"{DAMPING:g} of the mean variance"),
        ("widest layer for GPTQ", f"{WIDEST:,} inputs for each output"),
    ]
    return "\n".join(["| what | value |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)])
