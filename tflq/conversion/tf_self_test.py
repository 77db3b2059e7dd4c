"""A trial of TensorFlow's internal functions, which another version may have changed, on a model of one op."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from tflq.calibrate.ranges import Range
from tflq.conversion.tf_internal import complete, quantize_bytes
from tflq.flatbuffer import Graph, edit, read
from tflq.modes import Int8, Int16x8
from tflq.worker import ProgressCallback


def missing_internals(_: ProgressCallback) -> str | None:
    """Quantize a model of one op with the internal functions. Return what fails, or None if all works."""
    ranges = Range(0, 1, "y", -2.0, 2.0, -2.0, 2.0), Range(0, 0, "x", -1.0, 1.0, -1.0, 1.0)
    try:
        from tensorflow.lite.python import lite

        lite.TFLiteSavedModelConverterV2._convert_from_saved_model  # noqa: B018
        variants = Int8(), Int16x8()
        graphs = [read(complete(quantize_bytes(_one_op(), ranges, each)[0], each)) for each in variants]
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    pairs = zip(variants, graphs, strict=True)
    in_float = [variant.activations for variant, graph in pairs if not _is_integer(graph, variant.activations)]
    return f"quantizing to {in_float[0]} leaves a model of one op in float" if in_float else None


def _is_integer(graph: Graph, dtype: str) -> bool:
    return any(tensor.dtype == dtype for tensor in graph.subgraphs[0].tensors)


def _one_op() -> bytes:
    """Return a model that adds its input to itself."""
    tensors = [schema.TensorT(name=name, shape=[1, 4], hasRank=True) for name in (b"x", b"y")]
    add = schema.OperatorT(
        inputs=[0, 0],
        outputs=[1],
        builtinOptionsType=schema.BuiltinOptions.AddOptions,
        builtinOptions=schema.AddOptionsT(),
    )
    graph = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[1], operators=[add], name=b"main")
    codes = [schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.ADD, version=1)]
    return edit.pack(schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=[schema.BufferT()]))
