"""Corrections of the float32 model before quantization; the result is an ordinary float32 file without further ops."""

from tflq.refine.asymmetric_calibration import RoundedLayers, fit_asymmetric_calibration
from tflq.refine.budget import beyond_budget, evenly_spread, max_fitting_calls
from tflq.refine.corrected_model import CorrectedModel, LayerCorrection, write_corrected
from tflq.refine.correction import LayerFit, ModelCorrection, RewrittenModel
from tflq.refine.correction_data import CorrectionChoices, CorrectionData
from tflq.refine.correction_list import BY_KEY, CORRECTIONS, LAYERWISE_CORRECTIONS, MODEL_CORRECTIONS, SWITCHES
from tflq.refine.cross_layer_equalization import equalize
from tflq.refine.dynamic_range import correct_file
from tflq.refine.fitted_layers import FittedLayers
from tflq.refine.holdout import (
    Fold,
    HoldoutCandidate,
    HoldoutSamples,
    folds,
    folds_of_all,
    holdout_fidelity,
    output_errors,
    quantize_uncorrected,
    run_reference,
    split_holdout,
)
from tflq.refine.holdout_score import (
    MAX_HEADROOM_LOSS_DB,
    MIN_GAIN_DB,
    SIMILAR_DB,
    HoldoutScore,
    SignalAndNoise,
    prefer_headroom,
    simplest,
)
from tflq.refine.layer_statistics import STATISTICS_PARTS, LayerStatistics, fit_statistics
from tflq.refine.quantizer_input import (
    QuantizerInput,
    RefinedInput,
    RefinementReport,
    load_refined,
    quantize,
    scale_ranges,
)
from tflq.refine.request import RefinementConfig, RefinementRequest, is_demanded
from tflq.refine.rounding import ROUNDING, ROUNDING_PARTS, fit_rounding
from tflq.refine.second_moments import SecondMoments
from tflq.refine.selection import ScoresWanted, select_corrections
from tflq.refine.weighted_ops import WeightGranularity

__all__ = [
    "BY_KEY",
    "CORRECTIONS",
    "LAYERWISE_CORRECTIONS",
    "MAX_HEADROOM_LOSS_DB",
    "MIN_GAIN_DB",
    "MODEL_CORRECTIONS",
    "ROUNDING",
    "ROUNDING_PARTS",
    "SIMILAR_DB",
    "STATISTICS_PARTS",
    "SWITCHES",
    "CorrectedModel",
    "CorrectionChoices",
    "CorrectionData",
    "FittedLayers",
    "Fold",
    "HoldoutCandidate",
    "HoldoutSamples",
    "HoldoutScore",
    "LayerCorrection",
    "LayerFit",
    "LayerStatistics",
    "ModelCorrection",
    "QuantizerInput",
    "RefinedInput",
    "RefinementConfig",
    "RefinementReport",
    "RefinementRequest",
    "RewrittenModel",
    "RoundedLayers",
    "ScoresWanted",
    "SecondMoments",
    "SignalAndNoise",
    "WeightGranularity",
    "beyond_budget",
    "correct_file",
    "equalize",
    "evenly_spread",
    "fit_asymmetric_calibration",
    "fit_rounding",
    "fit_statistics",
    "folds",
    "folds_of_all",
    "holdout_fidelity",
    "is_demanded",
    "load_refined",
    "max_fitting_calls",
    "output_errors",
    "prefer_headroom",
    "quantize",
    "quantize_uncorrected",
    "run_reference",
    "scale_ranges",
    "select_corrections",
    "simplest",
    "split_holdout",
    "write_corrected",
]
