"""The result of a run, as frozen values."""

from tflq.result.activation_histogram import ActivationHistogram
from tflq.result.answers_report import AnswersReport, Confusion, Disagreement
from tflq.result.file_figures import (
    CompressionStats,
    File,
    FileFigures,
    Finding,
    FindingKind,
    Output,
    Port,
    Score,
)
from tflq.result.layer_figures import ActivationSqnr, LayerFigures, WeightRange
from tflq.result.run_result import (
    UNTRAINED,
    Baseline,
    DatasetReport,
    FoundBy,
    Gain,
    RangeReport,
    Result,
    Run,
    Stage,
    TrainingReport,
    Variant,
)
from tflq.verdicts import Gate, Status

__all__ = [
    "UNTRAINED",
    "ActivationHistogram",
    "ActivationSqnr",
    "AnswersReport",
    "Baseline",
    "CompressionStats",
    "Confusion",
    "DatasetReport",
    "Disagreement",
    "File",
    "FileFigures",
    "Finding",
    "FindingKind",
    "FoundBy",
    "Gain",
    "Gate",
    "LayerFigures",
    "Output",
    "Port",
    "RangeReport",
    "Result",
    "Run",
    "Score",
    "Stage",
    "Status",
    "TrainingReport",
    "Variant",
    "WeightRange",
]
