"""Write other weights and biases into a quantized file, in place of another run of the quantizer.

Two quantized files of one model with the same ranges differ only in the constants of corrected layers. The quantizer is
not called again for them, if the file is what these functions expect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from tflq.flatbuffer import ROLES, FileContent, Operator, Subgraph, Tensor, read, with_constants
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.operator_pairs import operator_pairs

MAX_BIAS_STEPS, WEIGHTS_PER_STEP = 2, 10_000
"""Differences that float rounding explains: of a bias in steps, and weights for each one that differs by a step."""


def has_constants(quantized: bytes, float32: FileContent, layers: Sequence[CorrectedLayer]) -> bool:
    """Return whether the int8 file has the constants of these layers of the float32 file, each read by one op.

    So those of other corrections can take their place. Layers that are in float in the int8 file do not count.
    """
    subgraph = read(quantized).subgraphs[0]
    pairs = operator_pairs(read(float32).subgraphs[0], subgraph)
    if pairs is None:
        return False
    readers = Counter(index for operator in subgraph.operators for index in operator.inputs)
    for each in layers:
        operator = pairs[each.layer.operator.index]
        for position, values in _constants(subgraph, operator, each):
            tensor = subgraph.input(operator, position)
            if tensor is None or readers[tensor.index] > 1 or not _is_expected(tensor, values):
                return False
    return True


def patch(quantized: bytes, float32: FileContent, layers: Sequence[CorrectedLayer]) -> bytes:
    """Return the int8 file with the constants of these layers of the float32 file.

    `has_constants` must be true for the same layers with other corrections. Layers in float stay as they are.
    """
    subgraph, changed = read(quantized).subgraphs[0], dict[tuple[int, int], np.ndarray]()
    pairs = operator_pairs(read(float32).subgraphs[0], subgraph) or {}
    for each in layers:
        operator = pairs[each.layer.operator.index]
        changed |= {(operator.index, position): array for position, array in _constants(subgraph, operator, each)}
    return with_constants(quantized, changed)


def _constants(subgraph: Subgraph, operator: Operator, corrected: CorrectedLayer) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the positions of the integer constants of the op with their values; nothing if the op is in float."""
    roles = ROLES[operator.type]
    weights, bias = subgraph.input(operator, roles.weights), subgraph.input(operator, roles.bias)
    if weights is not None and weights.dtype == "float32":
        return
    yield roles.weights, corrected.steps
    if corrected.bias is None or bias is None:
        return
    scales = np.array(bias.quantization.scales) if bias.quantization else np.ones(1)
    limits = np.iinfo(np.int32)
    yield roles.bias, np.clip(np.rint(corrected.bias / scales), limits.min, limits.max)


def _is_expected(tensor: Tensor, expected: np.ndarray) -> bool:
    if tensor.dtype not in {"int8", "int32"} or tensor.data is None or tensor.data.size != expected.size:
        return False
    stored, wanted = tensor.data.reshape(-1), expected.reshape(-1)
    (places,) = np.nonzero(stored != wanted)
    difference = np.abs(stored[places].astype(np.int64) - wanted[places].astype(np.int64))
    if tensor.dtype == "int32":
        return bool(difference.max(initial=0) <= MAX_BIAS_STEPS)
    return bool(difference.sum() <= 1 + stored.size // WEIGHTS_PER_STEP)
