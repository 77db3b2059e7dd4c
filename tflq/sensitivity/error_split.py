"""Split the error in two: run the float32 file with only its weights rounded, and with only its activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import Tensor, edit, load, real_values
from tflq.layerwise import Alignment, align
from tflq.trials import OutputFidelity
from tflq.trials.measurements import output_fidelity
from tflq.trials.stored_samples import record
from tflq.trials.trial import TrialEvaluation
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class ErrorSplit:
    """The fidelity of each output with only the weights, and with only the activations, rounded."""

    weights: Mapping[str, OutputFidelity]
    activations: Mapping[str, OutputFidelity]


def split(report: ProgressCallback, files: tuple[Path, Path], evaluation: TrialEvaluation, folder: Path) -> ErrorSplit:
    """Measure both halves of the error. `files`: the float32 file and the quantized one."""
    alignment, content = align(load(files[0]), load(files[1])), files[0].read_bytes()
    rounded, fake_quantized = folder / "weights-rounded.tflite", folder / "activations-rounded.tflite"
    rounded.write_bytes(with_rounded_weights(content, alignment))
    fake_quantized.write_bytes(with_rounded_activations(content, alignment))
    weights, activations = (
        output_fidelity(record(report, path, evaluation.stored, evaluation.plan)) for path in (rounded, fake_quantized)
    )
    return ErrorSplit(weights, activations)


def with_rounded_weights(content: bytes, alignment: Alignment) -> bytes:
    """Return the float32 file with its constants rounded to the values of the quantized file's integers."""
    model = edit.unpack(content)
    (subgraph, *_) = model.subgraphs
    for (op, position), tensor in alignment.constants.items():
        place = subgraph.operators[op].inputs[position]
        if tensor.quantization and place >= 0 and subgraph.tensors[place].type == schema.TensorType.FLOAT32:
            model.buffers.append(
                schema.BufferT(data=np.frombuffer(real_values(tensor).astype("<f4").tobytes(), np.uint8))
            )
            copy = edit.add_copy(subgraph, place)
            subgraph.tensors[copy].buffer = len(model.buffers) - 1
            subgraph.operators[op].inputs[position] = copy
    edit.drop_unused(model)
    return edit.pack(model)


def with_rounded_activations(content: bytes, alignment: Alignment) -> bytes:
    """Return the float32 file with its activations fake-quantized by the scales of the quantized file."""
    model = edit.unpack(content)
    added: dict[int, list[Any]] = {}
    replacements: dict[int, int] = {}
    for index, other in alignment.activations.items():
        tensor = alignment.quantized.tensors[other]
        if alignment.float32.tensors[index].dtype == "float32" and tensor.quantization and tensor.quantization.scales:
            added[index], replacements[index] = _fake_quantize(model, index, tensor)
    (subgraph, *_) = model.subgraphs
    for operator in subgraph.operators:
        operator.inputs = [replacements.get(int(index), int(index)) for index in operator.inputs]
    edit.place_behind(model, added)
    (signature,) = model.signatureDefs
    outputs = {entry.name.decode(): int(entry.tensorIndex) for entry in signature.outputs}
    edit.set_outputs(model, {name: replacements.get(index, index) for name, index in outputs.items()})
    return edit.pack(model)


def _fake_quantize(model: Any, index: int, like: Tensor) -> tuple[list[Any], int]:
    """Return ops that quantize the tensor like another one and dequantize it, and the index of their output."""
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
