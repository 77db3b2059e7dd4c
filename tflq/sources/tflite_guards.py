"""What a `.tflite` file must be so that it can be quantized: a float model without sparse weights and unknown ops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tflq.errors import EvaluationError, SourceError
from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor, edit, load, read
from tflq.flatbuffer.one_signature import keep_signature
from tflq.sources.outputs import end_before, end_model

FAKE_QUANT = "FAKE_QUANT"
NOT_FLOAT32 = ("float16", "bfloat16")


def refuse_unsuitable(path: Path, signature: str | None = None, outputs: Sequence[str] | None = None) -> Graph:
    """Return the graph of the file. SourceError if it cannot be read or cannot be quantized.

    With `outputs`, the part of that signature counts that these tensors need.
    """
    try:
        graph = load(path)
    except EvaluationError as error:
        raise SourceError(str(error)) from error
    if (what := obstacle(graph if outputs is None else _ending(path, graph, signature, outputs))) is not None:
        raise SourceError(f"{path}: {what}")
    return graph


def _ending(path: Path, graph: Graph, signature: str | None, outputs: Sequence[str]) -> Graph:
    """Return the graph of the part that the outputs need, or the whole graph if the signature is not known."""
    if len(graph.signatures) > 1 and signature not in [each.key for each in graph.signatures]:
        return graph
    model = edit.unpack(path.read_bytes())
    keep_signature(model, signature, signature or "part")
    end_model(model, read(edit.pack(model)), outputs)
    return read(edit.pack(model))


def obstacle(graph: Graph) -> str | None:
    """Return why the file cannot be a source, with a remedy. Return None if it can be one."""
    if not any(subgraph.operators for subgraph in graph.subgraphs):
        return "has no ops, so there is nothing to quantize"
    for subgraph, operator in graph.operators():
        if (what := _foreign_op(subgraph, operator)) is not None:
            return what
    for subgraph in graph.subgraphs:
        for tensor in _used(subgraph):
            if tensor.is_sparse:
                return (
                    f"the weights {_short(tensor)} are stored sparse, which no quantizer reads: export the model"
                    " without sparse weights"
                )
            if _is_quantized(tensor):
                return _quantized(graph)
    return _half_precision(graph)


def _foreign_op(subgraph: Subgraph, operator: Operator) -> str | None:
    if operator.is_custom:
        if operator.type.startswith("Flex"):
            return (
                f"has the TensorFlow op {operator.type.removeprefix('Flex')} (select_tf_ops), which calibration cannot"
                f" run: export the model without select_tf_ops{end_before(subgraph, operator)}"
            )
        compiled = "; the file was compiled for an Ethos-U" if operator.type == "ethos-u" else ""
        return (
            f"has the custom op {operator.type}, for which there is no kernel and no integer version{compiled}: give"
            f" the float file without that op{end_before(subgraph, operator)}"
        )
    if operator.type == FAKE_QUANT:
        return (
            "has FAKE_QUANT ops of quantization-aware training, which fix the ranges: give the float file from before"
            " that training, or give the SavedModel with the mode qat_int8"
        )
    if operator.type == "DENSIFY":
        names = ", ".join(_short(tensor) for tensor in subgraph.read_by(operator))
        return f"the weights {names} are stored sparse (DENSIFY): export the model without sparse weights"
    return None


def _used(subgraph: Subgraph) -> Iterator[Tensor]:
    for operator in subgraph.operators:
        yield from subgraph.read_by(operator)
        yield from subgraph.written_by(operator)


def _is_quantized(tensor: Tensor) -> bool:
    return tensor.quantization is not None and not tensor.is_float


def _quantized(graph: Graph) -> str:
    """Return what kind of quantized file this is."""
    quantized = [tensor for subgraph in graph.subgraphs for tensor in _used(subgraph) if _is_quantized(tensor)]
    integers = [tensor for tensor in quantized if not tensor.is_constant]
    if not integers:
        kind = f"its weights are {quantized[0].dtype} already, such as {_short(quantized[0])}"
    else:
        kind = f"it computes in {integers[0].dtype} already, such as {_short(integers[0])}"
    return f"is a quantized file: {kind}. Give the float file that it was made from"


def _half_precision(graph: Graph) -> str | None:
    """Return the sentence about tensors that are neither float32 nor constants which DEQUANTIZE converts to float32."""
    for subgraph, operator in graph.operators():
        for tensor in (*subgraph.read_by(operator), *subgraph.written_by(operator)):
            is_stored = tensor.is_constant and tensor.dtype == "float16" and operator.type == "DEQUANTIZE"
            if tensor.dtype in NOT_FLOAT32 and not is_stored:
                return (
                    f"its {operator.type} computes in {tensor.dtype} ({_short(tensor)}), but quantizers read float32:"
                    " export the model in float32"
                )
    return None


def _short(tensor: Tensor) -> str:
    """Return the name in quotes. Exporters write names of thousands of characters."""
    name = tensor.name.split(";")[0] or f"tensor {tensor.index}"
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
