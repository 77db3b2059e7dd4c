"""The stages of one run, each a call in worker processes: from values to values."""

from __future__ import annotations

from tflq.stages.build import Maker, make
from tflq.stages.measure import Judge
from tflq.stages.recipe_cache import FLOAT32, RecipeCache
from tflq.stages.state import CalibrationResult, ConvertibleSource, PreparedRun
from tflq.stages.trained import with_trained
from tflq.stages.variant_build import Float32Baseline, VariantBuild, file_name

__all__ = [
    "FLOAT32",
    "CalibrationResult",
    "ConvertibleSource",
    "Float32Baseline",
    "Judge",
    "Maker",
    "PreparedRun",
    "RecipeCache",
    "VariantBuild",
    "file_name",
    "make",
    "with_trained",
]
