"""The dtypes in which each op computes, and the remedy if it stays in float."""

from tflq.op_dtypes.support import FAILING, PRODUCTS, QUANTIZABLE, remedy, type_in_integer_file

__all__ = ["FAILING", "PRODUCTS", "QUANTIZABLE", "remedy", "type_in_integer_file"]
