"""The float32 file changed before it is quantized, so that less is lost; what comes out is an ordinary file."""

from tflq.refine.bias_correction import (
    CorrectedModel,
    CorrectionFlags,
    LayerCorrection,
    WeightGranularity,
    correct,
    fake_quantize_weights,
)
from tflq.refine.cross_layer_equalization import EqualizedModel, equalize
from tflq.refine.dynamic_range import correct_biases
from tflq.refine.holdout_score import HoldoutScore, SignalAndNoise, best_score
from tflq.refine.quantizer_input import (
    QuantizerInput,
    RefinedInput,
    Refinement,
    holdout_fidelity,
    load_refined,
    quantize,
    scale_ranges,
    split_holdout,
)
from tflq.refine.request import RefinementConfig, RefinementRequest, is_demanded

__all__ = [
    "CorrectedModel",
    "CorrectionFlags",
    "EqualizedModel",
    "HoldoutScore",
    "LayerCorrection",
    "QuantizerInput",
    "RefinedInput",
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
    "holdout_fidelity",
    "is_demanded",
    "load_refined",
    "quantize",
    "scale_ranges",
    "split_holdout",
]
