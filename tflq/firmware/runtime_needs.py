"""The requirements of a file on the runtime, beside kernels for its ops, for the I/O card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflq.flatbuffer import Graph, SparseWeights

WITHOUT_DELEGATE = (
    "an interpreter without LiteRT's default delegate (XNNPACK), which cannot prepare sparse int8 weights. In Python:"
    " experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES. In C++:"
    " BuiltinOpResolverWithoutDefaultDelegates"
)
WITH_BLOCKS = (
    "LiteRT 1.3.0 or newer for int4 weights in blocks: LiteRT 1.1.2 and 1.2.0 load the file, but answer wrongly"
)


def runtime_needs(graph: Graph, sparse: Sequence[SparseWeights]) -> tuple[str, ...]:
    """Return the requirements of the file on the runtime, each as a clause. `sparse` are its sparse constants."""
    return tuple(_needs(graph, sparse))


def _needs(graph: Graph, sparse: Sequence[SparseWeights]) -> Iterator[str]:
    if any(weights.dtype == "int8" for weights in sparse):
        yield WITHOUT_DELEGATE
    quantized = (tensor.quantization for subgraph in graph.subgraphs for tensor in subgraph.tensors)
    if any(each.blocks is not None for each in quantized if each is not None):
        yield WITH_BLOCKS
