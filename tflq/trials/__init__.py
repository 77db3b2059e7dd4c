"""Many cheap trials of one model. Shared inputs are made once; each trial quantizes a file and measures it."""

from __future__ import annotations

from tflq.trials.constraints import Constraint, refuse_none, relative_violation, worst
from tflq.trials.measurements import Measurements, OutputFidelity, quality
from tflq.trials.runner import BudgetExhausted, TrialLimits, TrialRunner, is_trial
from tflq.trials.setup import LOG, open_trials
from tflq.trials.splits import Splits
from tflq.trials.trial import CONFIRMATION, RANKING, SELECTION, SampleSet, Trial, TrialResult, meets_all

__all__ = [
    "CONFIRMATION",
    "LOG",
    "RANKING",
    "SELECTION",
    "BudgetExhausted",
    "Constraint",
    "Measurements",
    "OutputFidelity",
    "SampleSet",
    "Splits",
    "Trial",
    "TrialLimits",
    "TrialResult",
    "TrialRunner",
    "is_trial",
    "meets_all",
    "open_trials",
    "quality",
    "refuse_none",
    "relative_violation",
    "worst",
]
