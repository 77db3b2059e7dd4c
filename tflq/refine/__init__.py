"""Corrections of the float32 model before quantization; the result is an ordinary float32 file without further ops."""

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
from tflq.refine.holdout_score import (
    CERTAIN_ERRORS,
    CERTAIN_GAIN_DB,
    CLEAR_GAIN_DB,
    MIN_CALLS,
    MIN_GAIN_DB,
    HoldoutScore,
    SignalAndNoise,
    best_score,
)
from tflq.refine.quantizer_input import (
    QuantizerInput,
    RefinedInput,
    RefinementReport,
    holdout_fidelity,
    load_refined,
    quantize,
    scale_ranges,
    split_holdout,
)
from tflq.refine.request import RefinementConfig, RefinementRequest, is_demanded

__all__ = [
    "CERTAIN_ERRORS",
    "CERTAIN_GAIN_DB",
    "CLEAR_GAIN_DB",
    "MIN_CALLS",
    "MIN_GAIN_DB",
    "CorrectedModel",
    "CorrectionFlags",
    "EqualizedModel",
    "HoldoutScore",
    "LayerCorrection",
    "QuantizerInput",
    "RefinedInput",
    "RefinementConfig",
    "RefinementReport",
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
