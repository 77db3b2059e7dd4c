"""The dtypes in which each op computes, and the remedy if it stays in float."""

from tflq.op_dtypes.support import FAILING, QUANTIZABLE, remedy

__all__ = ["FAILING", "QUANTIZABLE", "remedy"]
