"""Many cheap trials of one model: what is needed is made once, then files are quantized from it and measured."""

from __future__ import annotations

from tflq.trials.bars import Bar, lack, refuse_none, worst
from tflq.trials.bench import LOG, Bench, Limits, Spent, is_trial, opened
from tflq.trials.figures import Figure, Figures, Near, quality
from tflq.trials.rows import Sets
from tflq.trials.trial import CONFIRMING, DECIDING, RANKING, Set, Trial, Tried, meet

__all__ = [
    "CONFIRMING",
    "DECIDING",
    "LOG",
    "RANKING",
    "Bar",
    "Bench",
    "Figure",
    "Figures",
    "Limits",
    "Near",
    "Set",
    "Sets",
    "Spent",
    "Trial",
    "Tried",
    "is_trial",
    "lack",
    "meet",
    "opened",
    "quality",
    "refuse_none",
    "worst",
]
