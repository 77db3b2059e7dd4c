"""Tries every op in float32, int8 and int16, and writes the table: `python -m benchmarks.op_dtypes [FILE]`.

Each op stands alone in a float model. TensorFlow's quantizer gets it with the ranges of its tensors, and LiteRT runs
the file. Ops that need a state or another subgraph are not tried, except the fused LSTM.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.one_op_models import OneOp, model_of, one_op_models
from tflq.contract import COMPARISONS, has_integer_op
from tflq.conversion.tf_internal import quantize_all
from tflq.errors import EvaluationError
from tflq.flatbuffer import edit, float_operators, read
from tflq.interpreter import Runner
from tflq.modes import Int8, Int16x8

TARGET = Path(__file__).parent.parent / "tflq" / "op_dtypes" / "table.py"
VERSIONS = range(1, 13)
SECONDS = 60
PACKAGES = ("tensorflow", "ai-edge-litert")
HEAD = '''"""The dtypes in which each op computes. `python -m benchmarks.op_dtypes` writes this file; do not edit it."""

from __future__ import annotations

MADE_WITH = {{{versions}}}
"""The versions that the table is of."""

OPS = """
{rows}
"""
"""One op a line: its type, then a word for each of float32, int8 and int16.

`runs`: the quantizer writes it, and LiteRT runs it. `fails`: the quantizer writes it, and LiteRT cannot run it.
`float`: the quantizer leaves it in float. `none`: LiteRT has no such kernel.
"""
'''


def words(op: OneOp) -> tuple[str, str, str]:
    """Return what becomes of the op in float32, int8 and int16."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.tflite"
        model = _runnable(op, path)
        if model is None:
            return "none", "none", "none"
        _set_ranges(model)
        content = edit.pack(model)
        return "runs", _int8_word(content, path), _int16_word(content, path)


def _runnable(op: OneOp, path: Path) -> Any | None:
    """Return the model of the op at its first version that LiteRT runs."""
    for version in VERSIONS:
        model = model_of(op, version)
        edit.write(model, path)
        try:
            Runner(path)(_arrays(model))
        except EvaluationError:
            continue
        return model
    return None


def _arrays(model: Any) -> dict[str, np.ndarray]:
    """Return inputs from 0.5 to 1.5, so that logarithms and roots are finite."""
    (graph,) = model.subgraphs
    random = np.random.default_rng(1)
    return {
        entry.name.decode(): random.uniform(0.5, 1.5, graph.tensors[entry.tensorIndex].shape).astype(np.float32)
        for entry in model.signatureDefs[0].inputs
    }


def _set_ranges(model: Any) -> None:
    """Give each float activation the range from -4 to 4, which contains the inputs."""
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        if tensor.type == 0 and not edit.is_constant(model, tensor):
            edit.set_range(model, (0, index), -4.0, 4.0)


def _int8_word(content: bytes, path: Path) -> str:
    """Return the word for int8. Some ops, such as NOT_EQUAL, are int8 only where their inputs are."""
    words = [_word(content, Int8(inference_input_type=type_), path) for type_ in ("float32", "int8")]
    return words[0] if words[0] != "float" else words[1]


def _int16_word(content: bytes, path: Path) -> str:
    """Return the word for int16. Comparisons are int16 only where another op writes what they read."""
    word = _word(content, Int16x8(), path)
    return word if word != "float" or not _is_comparison(content) else _word(_behind_abs(content), Int16x8(), path)


def _is_comparison(content: bytes) -> bool:
    return any(operator.type in COMPARISONS for _, operator in read(content).operators())


def _behind_abs(content: bytes) -> bytes:
    """Return the model with an ABS behind each input, which is int16 and leaves positive values as they are."""
    model = edit.unpack(content)
    (graph,) = model.subgraphs
    (operator,) = graph.operators
    for index in graph.inputs:
        written = edit.add_copy(graph, index)
        graph.operators.insert(0, edit.new_operator(model, "ABS", [index], written, schema.AbsOptionsT()))
        operator.inputs = [written if each == index else each for each in operator.inputs]
    _set_ranges(model)
    return edit.pack(model)


def _word(content: bytes, mode: Int8 | Int16x8, path: Path) -> str:
    try:
        quantized = quantize_all(edit.unpack(content), mode)
    except (RuntimeError, ValueError):
        return "float"
    path.write_bytes(quantized)
    graph = read(quantized)
    try:
        Runner(path)(_arrays(edit.unpack(content)))
    except EvaluationError:
        return "fails"
    left = {operator.type for _, operator in float_operators(graph)}
    return "runs" if has_integer_op(graph, mode.activations) and not left & COMPARISONS else "float"


def _put(queue: Any, op: OneOp) -> None:
    queue.put(words(op))


def tried(op: OneOp) -> tuple[str, str, str]:
    """Return the words of the op, which a process of its own tries, because kernels may crash."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_put, args=(queue, op))
    process.start()
    process.join(SECONDS)
    if process.exitcode != 0:
        process.kill()
        return "runs", "fails", "fails"
    found: tuple[str, str, str] = queue.get(timeout=SECONDS)
    return found


def table(ops: Sequence[OneOp]) -> Mapping[str, tuple[str, str, str]]:
    import tensorflow as tf  # noqa: F401  every process starts with it

    return {op.type: tried(op) for op in sorted(ops, key=lambda op: op.type)}


def main(target: Path = TARGET) -> None:
    found = table(one_op_models())
    rows = "\n".join(f"{type_:30}{first:8}{second:8}{third}" for type_, (first, second, third) in found.items())
    versions = ", ".join(f'"{name}": "{importlib.metadata.version(name)}"' for name in PACKAGES)
    target.write_text(HEAD.format(versions=versions, rows=rows), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
