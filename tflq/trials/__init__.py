"""Many cheap trials of one model: what is needed is made once, then files are quantized from it and measured."""

from __future__ import annotations

from tflq.trials.bench import Bench, Limits, Spent, is_trial, opened
from tflq.trials.rows import Sets
from tflq.trials.trial import CONFIRMING, DECIDING, Figure, Figures, Near, Set, Trial, Tried

__all__ = [
    "CONFIRMING",
    "DECIDING",
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
    "opened",
]
