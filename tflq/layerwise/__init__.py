"""Compare a quantized file with the float32 file, activation by activation and constant by constant."""

from tflq.layerwise.align import Alignment, align
from tflq.layerwise.tensors import BAD_LOSS_DB, Activation, LocalLoss, compare, decibels, first_bad, is_bad, losses
from tflq.layerwise.unlike import JOINS, WIDTH_RATIO, unlike_channels, unlike_inputs

__all__ = [
    "BAD_LOSS_DB",
    "JOINS",
    "WIDTH_RATIO",
    "Activation",
    "Alignment",
    "LocalLoss",
    "align",
    "compare",
    "decibels",
    "first_bad",
    "is_bad",
    "losses",
    "unlike_channels",
    "unlike_inputs",
]
