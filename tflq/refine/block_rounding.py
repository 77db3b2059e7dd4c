"""GPTQ for a file whose dense layers have int4 weights in blocks. The scales of the blocks stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, Tensor, edit, read, real_values
from tflq.flatbuffer.constants import INT4, add_buffer, packed_int4
from tflq.refine.corrected_model import LayerCorrection
from tflq.refine.correction_data import CorrectionData, operators_of
from tflq.refine.gptq import gptq_round_blocks
from tflq.refine.input_statistics import input_statistics
from tflq.refine.rounding import squared_error
from tflq.refine.second_moments import second_moment_of
from tflq.refine.weighted_ops import Layer, layers
from tflq.worker import ProgressCallback


def round_blocks(
    report: ProgressCallback, files: tuple[Path, Path], data: CorrectionData, target: Path
) -> tuple[LayerCorrection, ...]:
    """Write the second file with int4 weights rounded by GPTQ to `target`, and return the layers that changed.

    The first file is the float32 file. Layers whose inputs have no usable covariance stay as they are.
    """
    content, converted = (file.read_bytes() for file in files)
    model, chosen = edit.unpack(converted), list(_int4_layers(read(content), content, read(converted).subgraphs[0]))
    given = (data.samples, data.fitting)
    inputs = input_statistics(content, [layer for layer, _, _ in chosen], given, target.with_suffix(".seen"))
    changed: list[LayerCorrection] = []
    for done, ((layer, operator, tensor), statistics) in enumerate(zip(chosen, inputs, strict=True), 1):
        second_moment = second_moment_of(statistics)
        if second_moment is not None:
            steps, error = _rounded(layer, tensor, second_moment)
            if error < 1:
                model.subgraphs[0].tensors[tensor.index].buffer = add_buffer(model, packed_int4(steps))
                name = layer.bias.name if layer.bias else tensor.name
                changed.append(LayerCorrection(operator.index, operator.type, name, 0.0, error))
        report(done, len(chosen))
    edit.drop_unused_buffers(model)
    edit.write(model, target)
    return tuple(changed)


def _int4_layers(float32: Graph, content: bytes, subgraph: Subgraph) -> Iterator[tuple[Layer, Operator, Tensor]]:
    """Yield layers with int4 weights, each with its op and its weights in the file. Clustered weights are left out."""
    operators = operators_of(float32, subgraph)
    for layer in layers(content):
        operator = operators[layer.operator.index]
        tensor = subgraph.input(operator, ROLES[operator.type].weights)
        is_in_blocks = tensor is not None and tensor.quantization is not None and tensor.quantization.blocks is not None
        if tensor is not None and is_in_blocks and not layer.is_clustered:
            yield layer, operator, tensor


def _rounded(layer: Layer, tensor: Tensor, second_moment: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the integers by GPTQ, and the error of the layer's output in units of that with the stored integers."""
    assert tensor.quantization is not None
    blocks = tensor.quantization.blocks
    assert blocks is not None
    weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
    scales = np.repeat(np.asarray(blocks.scales, np.float64), blocks.size, axis=-1)[np.newaxis]
    steps = gptq_round_blocks(weights, scales, second_moment, INT4)
    before, after = (
        squared_error(each - weights, second_moment)
        for each in (layer.as_matrices(real_values(tensor)), steps * scales)
    )
    return steps[0], after / before if before else 1.0
