"""The float32 file changed before it is quantized, so that less is lost; what comes out is an ordinary file."""

from tflq.refine.bias_correction import (
    CorrectedModel,
    CorrectionFlags,
    LayerCorrection,
    WeightGranularity,
    correct,
    fake_quantize_weights,
)
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
from tflq.refine.cross_layer_equalization import EqualizedModel, equalize
from tflq.refine.holdout_score import HoldoutScore, SignalAndNoise, best_score
from tflq.refine.hybrid import correct_biases
from tflq.refine.request import RefinementConfig, RefinementRequest, is_demanded

__all__ = [
    "Candidate",
    "CorrectedModel",
    "CorrectionFlags",
    "EqualizedModel",
    "HoldoutScore",
    "LayerCorrection",
    "Refined",
    "Refinement",
    "RefinementConfig",
    "RefinementRequest",
    "SignalAndNoise",
    "WeightGranularity",
    "best_score",
    "correct",
    "correct_biases",
    "equalize",
    "fake_quantize_weights",
    "held_back",
    "is_demanded",
    "nearness",
    "quantize",
    "restored",
    "widened",
]
