"""Ranges of weights in a float32 file. The quantizer for 16-bit activations takes the scales of the weights from them.

Without a range, the largest weight of a channel defines its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import ROLES, edit
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.gptq import QMAX
from tflq.refine.weighted_ops import WeightGranularity


def with_weight_ranges(content: bytes, corrected: Sequence[CorrectedLayer], granularity: WeightGranularity) -> bytes:
    """Return the float32 file with symmetric ranges of those weights whose largest ones do not define their scales."""
    model = edit.unpack(content)
    for each in corrected:
        if not np.allclose(
            granularity.scales(each.layer, each.rounded.matrices), each.rounded.scales, rtol=1e-6, atol=0
        ):
            values, axis = QMAX * each.rounded.scales.reshape(-1), ROLES[each.layer.operator.type].channels
            ranges = schema.QuantizationParametersT(
                min=(-values).tolist(), max=values.tolist(), quantizedDimension=axis
            )
            model.subgraphs[0].tensors[each.layer.weights.index].quantization = ranges
    return edit.pack(model)


def drop_weight_ranges(model: Any, index: int) -> None:
    """Remove the ranges from the float constant of that index in the main subgraph."""
    model.subgraphs[0].tensors[index].quantization = None
