"""The real numbers that the stored values of a constant stand for."""

from __future__ import annotations

import numpy as np

from tflq.flatbuffer.graph import NUMPY_DTYPES, PACKED_BITS, Quantization, Tensor


def has_real_values(tensor: Tensor) -> bool:
    """Return whether the tensor is a constant of numbers whose scales are known, if it has any."""
    is_numeric = tensor.dtype in NUMPY_DTYPES or tensor.dtype in PACKED_BITS
    quantization = tensor.quantization
    is_scaled = quantization is None or _has_fitting_scales(tensor.shape, quantization)
    return tensor.is_constant and not tensor.is_sparse and is_numeric and is_scaled and not _is_complex(tensor)


def real_values(tensor: Tensor) -> np.ndarray:
    """Return the real values of a constant, float64: (q − zero_point) · scale if it is quantized.

    `has_real_values` must be true for the tensor.
    """
    values = np.asarray(tensor.data, np.float64)
    if tensor.quantization is None:
        return values
    if blocks := tensor.quantization.blocks:
        scaled: np.ndarray = values * np.repeat(np.asarray(blocks.scales, np.float64), blocks.size, axis=-1)
        return scaled
    shape = [1] * len(tensor.shape)
    if tensor.quantization.is_per_axis:
        shape[tensor.quantization.dimension] = -1
    scales = np.reshape(tensor.quantization.scales, shape)
    zero_points = tensor.quantization.zero_points
    return np.asarray((values - (np.reshape(zero_points, shape) if zero_points else 0)) * scales)


def _has_fitting_scales(shape: tuple[int, ...], quantization: Quantization) -> bool:
    """Return whether there is one scale, or one for each block or index, each with one zero point or none."""
    if quantization.blocks is not None:
        return True
    scales, zero_points, dimension = len(quantization.scales), len(quantization.zero_points), quantization.dimension
    if scales < 2:
        return scales == 1 and zero_points < 2
    return 0 <= dimension < len(shape) and shape[dimension] == scales and zero_points in (0, 1, scales)


def _is_complex(tensor: Tensor) -> bool:
    return tensor.dtype.startswith("complex")
