"""What weights lose alone, and activations alone: the float32 file with one of the two rounded to its integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import Tensor, edit, load
from tflq.sensitivity.align import Aligned, aligned
from tflq.trials import OutputFidelity
from tflq.trials.measurements import output_fidelity
from tflq.trials.stored_samples import record
from tflq.trials.trial import TrialEvaluation
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class ErrorSplit:
    """For each output how near it is to the float32 file's."""

    weights: Mapping[str, OutputFidelity]
    activations: Mapping[str, OutputFidelity]


def split(report: ProgressCallback, files: tuple[Path, Path], judging: TrialEvaluation, folder: Path) -> ErrorSplit:
    """Of the float32 file and the quantized one."""
    found, content = aligned(load(files[0]), load(files[1])), files[0].read_bytes()
    rounded, faked = folder / "weights-rounded.tflite", folder / "activations-rounded.tflite"
    rounded.write_bytes(with_rounded_weights(content, found))
    faked.write_bytes(with_rounded_activations(content, found))
    weights, activations = (
        output_fidelity(record(report, path, judging.stored, judging.plan)) for path in (rounded, faked)
    )
    return ErrorSplit(weights, activations)


def with_rounded_weights(content: bytes, found: Aligned) -> bytes:
    """The float32 file, its constants as the integers of the quantized one stand for them."""
    model = edit.unpack(content)
    (subgraph, *_) = model.subgraphs
    for (op, position), tensor in found.constants.items():
        place = subgraph.operators[op].inputs[position]
        if tensor.quantization and place >= 0 and subgraph.tensors[place].type == schema.TensorType.FLOAT32:
            model.buffers.append(schema.BufferT(data=np.frombuffer(real(tensor).astype("<f4").tobytes(), np.uint8)))
            copy = edit.add_copy(subgraph, place)
            subgraph.tensors[copy].buffer = len(model.buffers) - 1
            subgraph.operators[op].inputs[position] = copy
    edit.drop_unused(model)
    return edit.pack(model)


def real(tensor: Tensor) -> np.ndarray:
    """What the constant stands for: (q − zero_point) · scale, float64."""
    assert tensor.quantization is not None
    shape = [1] * len(tensor.shape)
    if tensor.quantization.is_per_axis:
        shape[tensor.quantization.dimension] = -1
    scales, zeros = (
        np.reshape(given, shape) for given in (tensor.quantization.scales, tensor.quantization.zero_points)
    )
    return np.asarray((np.asarray(tensor.data, np.float64) - zeros) * scales)


def with_rounded_activations(content: bytes, found: Aligned) -> bytes:
    """The float32 file, its activations passed through the integers that the quantized one has for them."""
    model = edit.unpack(content)
    added: dict[int, list[Any]] = {}
    passed: dict[int, int] = {}
    for index, other in found.activations.items():
        tensor = found.made.tensors[other]
        if found.float32.tensors[index].dtype == "float32" and tensor.quantization and tensor.quantization.scales:
            added[index], passed[index] = _through(model, index, tensor)
    (subgraph, *_) = model.subgraphs
    for operator in subgraph.operators:
        operator.inputs = [passed.get(int(index), int(index)) for index in operator.inputs]
    edit.place_behind(model, added)
    (signature,) = model.signatureDefs
    outputs = {entry.name.decode(): int(entry.tensorIndex) for entry in signature.outputs}
    edit.set_outputs(model, {name: passed.get(index, index) for name, index in outputs.items()})
    return edit.pack(model)


def _through(model: Any, index: int, like: Tensor) -> tuple[list[Any], int]:
    """Ops that quantize that tensor of the model as the other is, and dequantize it again; and what comes out."""
    (subgraph, *_) = model.subgraphs
    assert like.quantization is not None
    integers, out = edit.add_copy(subgraph, index), edit.add_copy(subgraph, index)
    tensor = subgraph.tensors[integers]
    tensor.type, tensor.buffer = getattr(schema.TensorType, like.dtype.upper()), 0
    tensor.quantization = schema.QuantizationParametersT(
        scale=list(like.quantization.scales), zeroPoint=list(like.quantization.zero_points)
    )
    steps = (("QUANTIZE", index, integers), ("DEQUANTIZE", integers, out))
    return [edit.conversion(model, *step) for step in steps], out
