"""The stages of one run, in the order of `pipeline.run`; each starts tasks in worker processes and returns values."""

from tflq.stages.artifacts import write_artifacts
from tflq.stages.assemble import RunValues, assemble
from tflq.stages.calibrate import calibrate, observe, select_ranges
from tflq.stages.context import RunContext
from tflq.stages.convert import build_variants, conversion_task, convert, refine_variants
from tflq.stages.dynamic_range import correction_if_possible, corrects_biases
from tflq.stages.early_measurement import begin_measurement, with_float32_outputs
from tflq.stages.evaluation_plan import evaluation_plan
from tflq.stages.findings import begin_inspection, find
from tflq.stages.measure import Measurement, check_contracts, compression_stats, measure, smoke_test, time_files
from tflq.stages.prepare import make_float32, prepare_inputs, prepare_source
from tflq.stages.recipe_cache import FLOAT32, RecipeCache
from tflq.stages.refine import refine_models
from tflq.stages.state import CalibrationResult, ConvertibleSource, PreparedRun
from tflq.stages.targets import check_targets, run_on_targets
from tflq.stages.train import CHECKPOINT, train
from tflq.stages.trained import add_trained
from tflq.stages.variant_build import Float32Baseline, VariantBuild, file_name

__all__ = [
    "CHECKPOINT",
    "FLOAT32",
    "CalibrationResult",
    "ConvertibleSource",
    "Float32Baseline",
    "Measurement",
    "PreparedRun",
    "RecipeCache",
    "RunContext",
    "RunValues",
    "VariantBuild",
    "add_trained",
    "assemble",
    "begin_inspection",
    "begin_measurement",
    "build_variants",
    "calibrate",
    "check_contracts",
    "check_targets",
    "compression_stats",
    "conversion_task",
    "convert",
    "correction_if_possible",
    "corrects_biases",
    "evaluation_plan",
    "file_name",
    "find",
    "make_float32",
    "measure",
    "observe",
    "prepare_inputs",
    "prepare_source",
    "refine_models",
    "refine_variants",
    "run_on_targets",
    "select_ranges",
    "smoke_test",
    "time_files",
    "train",
    "with_float32_outputs",
    "write_artifacts",
]
