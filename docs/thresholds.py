"""The numbers by which tflq decides, read from the code, for docs/explanation.md and docs/report.md."""

from __future__ import annotations

from tflq.calibrate.headroom import FACTORS
from tflq.channel_factors import EQUALIZATION_STRENGTH, MAX_FACTOR
from tflq.refine.asymmetric_calibration import COMPENSATION_BUDGET
from tflq.refine.budget import FITTING_BUDGET, LEAST_BUDGET, MAX_FITTING_CALLS, MIN_FITTING_CALLS, SHARE
from tflq.refine.gptq import DAMPING, SCALE_FACTORS
from tflq.refine.holdout import CROSS_FITTING_CALLS, MAX_HOLDOUT_CALLS, MAX_PARTS, split_holdout
from tflq.refine.holdout_score import MAX_HEADROOM_LOSS_DB, MIN_GAIN_DB, SIMILAR_DB
from tflq.refine.input_statistics import MAX_WIDTH
from tflq.refine.range_levels import HEADROOM_OF_INT16
from tflq.refine.rounding import MAX_SEARCH_WORK
from tflq.refine.second_moments import SHRINKAGE
from tflq.refine.selection import HOPELESS_DB
from tflq.stages.measurement_budget import (
    AGREEMENT_REACH,
    MAX_INT16_MULTIPLY_ADDS,
    MAX_SAMPLES,
    MIN_SAMPLES,
    SQNR_REACH_DB,
)

CALLS = 100


def numbers() -> str:
    rows = [
        ("hold-out calls", f"{len(split_holdout(CALLS).holdout)} of {CALLS}, at most {MAX_HOLDOUT_CALLS}"),
        ("few calls, for which each call is held out once", f"less than {CROSS_FITTING_CALLS}"),
        (
            "calls that corrections are fitted to",
            f"as many as take {FITTING_BUDGET / 1e9:g} billion multiply-adds,"
            f" from {MIN_FITTING_CALLS} to {MAX_FITTING_CALLS}",
        ),
        ("least gain", f"{MIN_GAIN_DB:g} dB"),
        ("similar", f"a loss of at most {SIMILAR_DB:g} dB"),
        ("headroom loss", f"at most {MAX_HEADROOM_LOSS_DB:g} dB"),
        ("parts, if all calls are compared", f"{MAX_PARTS}, of at most {MAX_HOLDOUT_CALLS} calls"),
        ("hopeless", f"a loss of more than {HOPELESS_DB:g} dB"),
        ("headroom that is tried", f"factors from {FACTORS.min():g} to {FACTORS.max():g}"),
        ("headroom for int16 if it is `auto`", f"{HEADROOM_OF_INT16:g}"),
        ("equalization", f"the ratio of sizes to the power of {EQUALIZATION_STRENGTH:g}, at most {MAX_FACTOR:g}"),
        (
            "most work for equalization, in multiply-adds",
            f"{SHARE:g} times that of calibration, or {LEAST_BUDGET / 1e9:g} billion",
        ),
        ("GPTQ damping", f"{DAMPING:g} of the mean variance"),
        ("shrinkage", f"{SHRINKAGE:g} of the mean variance, times inputs, divided by rows"),
        (
            "scales that GPTQ tries for each channel beside 16-bit activations",
            f"{len(SCALE_FACTORS)}, if weights times inputs of an output are at most {MAX_SEARCH_WORK / 1e6:g} million",
        ),
        ("most work for layers that compensate, in multiply-adds", f"{COMPENSATION_BUDGET / 1e9:g} billion"),
        ("widest layer for GPTQ", f"{MAX_WIDTH:,} inputs for each output"),
    ]
    return "\n".join(["| what | value |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)])


def measuring() -> str:
    """Return the rules for the number of samples of a file, for docs/report.md."""
    billions = MAX_INT16_MULTIPLY_ADDS / 1e9
    return f"""\
- Every file gets {MIN_SAMPLES} samples first, and then more in rounds. If there are at most {2 * MIN_SAMPLES} samples,
  they are measured at once.
- Measuring a file stops when the 95 % interval of the SQNR of each output is within ±{SQNR_REACH_DB:g} dB, and that of
  agree within ±{100 * AGREEMENT_REACH:g} points. It goes on while the interval includes the limit of a gate.
- It also stops after `evaluation.samples`. Without `evaluation`, it stops after {MAX_SAMPLES} calibration samples.
- LiteRT has only slow kernels for ops with int16 activations. A file with many of them stops sooner, but has at least
  {MIN_SAMPLES} samples. The limit is {billions:g} billion multiply-adds in such ops over all samples.
- The source is compared on the samples of the first round."""
