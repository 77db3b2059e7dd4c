"""Which op computes in which dtype, and what to do if it stays in float."""

from tflq.op_dtypes.support import FAILING, QUANTIZABLE, remedy

__all__ = ["FAILING", "QUANTIZABLE", "remedy"]
