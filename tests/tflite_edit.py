"""A checked-in .tflite as an object to change, and back to bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

DATA = Path(__file__).parent / "data"
NAMES = sorted(path.stem for path in DATA.glob("*.tflite"))


def raw(name: str) -> bytes:
    return (DATA / f"{name}.tflite").read_bytes()


def load(name: str) -> Any:
    return flatbuffer_utils.read_model_from_bytearray(raw(name))


def packed(model: Any) -> bytes:
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operator(model: Any, type_: str, subgraph: int = 0) -> Any:
    """The first operator of that type."""
    number = getattr(schema.BuiltinOperator, type_)
    return next(
        op for op in model.subgraphs[subgraph].operators if model.operatorCodes[op.opcodeIndex].builtinCode == number
    )


def read_by(model: Any, type_: str, position: int, subgraph: int = 0) -> Any:
    """The tensor that the first operator of that type reads at a position."""
    return model.subgraphs[subgraph].tensors[operator(model, type_, subgraph).inputs[position]]


def written_by(model: Any, type_: str, subgraph: int = 0) -> Any:
    return model.subgraphs[subgraph].tensors[operator(model, type_, subgraph).outputs[0]]


def store(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Give a constant other numbers."""
    model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)


def numbers(model: Any, tensor: Any, dtype: str) -> np.ndarray:
    """A copy of a constant's numbers, flat."""
    return np.array(model.buffers[tensor.buffer].data, np.uint8).view(dtype)


def integer_only() -> bytes:
    """The CNN without the op that makes its output float."""
    model = load("cnn_int8")
    graph, last = model.subgraphs[0], operator(model, "DEQUANTIZE")
    graph.operators.remove(last)
    graph.outputs = [last.inputs[0]]
    model.signatureDefs[0].outputs[0].tensorIndex = last.inputs[0]
    return packed(model)
