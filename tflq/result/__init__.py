"""The result of a run, as frozen values."""

from tflq.result.file_figures import (
    CompressionStats,
    File,
    FileFigures,
    Finding,
    FindingKind,
    Gate,
    Output,
    Port,
    Score,
)
from tflq.result.run_result import (
    Baseline,
    DatasetReport,
    FoundBy,
    Gain,
    RangeReport,
    Result,
    Run,
    Stage,
    Status,
    TrainingReport,
    Variant,
)

__all__ = [
    "Baseline",
    "CompressionStats",
    "DatasetReport",
    "File",
    "FileFigures",
    "Finding",
    "FindingKind",
    "FoundBy",
    "Gain",
    "Gate",
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
]
