"""The float32 file changed before it is quantized, so that less is lost; what comes out is an ordinary file."""

from tflq.refine.attempt import Attempt, Energies, best
from tflq.refine.candidates import (
    Candidate,
    Refined,
    Refinement,
    held_back,
    nearness,
    quantize,
    restored,
    widened,
)
from tflq.refine.correct import Corrected, Correction, Corrections, Grid, correct, on_grid
from tflq.refine.cross_layer_equalization import EqualizedModel, equalize
from tflq.refine.hybrid import correct_biases
from tflq.refine.request import RefinementConfig, RefinementRequest, is_demanded

__all__ = [
    "Attempt",
    "Candidate",
    "Corrected",
    "Correction",
    "Corrections",
    "Energies",
    "EqualizedModel",
    "Grid",
    "Refined",
    "Refinement",
    "RefinementConfig",
    "RefinementRequest",
    "best",
    "correct",
    "correct_biases",
    "equalize",
    "held_back",
    "is_demanded",
    "nearness",
    "on_grid",
    "quantize",
    "restored",
    "widened",
]
