"""The differences between two .tflite files or two output folders."""

from tflq.diff.gates import DiffGates, parse_gates
from tflq.diff.run import DiffRequest, DiffResult, diff

__all__ = ["DiffGates", "DiffRequest", "DiffResult", "diff", "parse_gates"]
