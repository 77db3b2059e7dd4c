"""Verify a finished file: read it, check the rules and the contract of its mode, and run it once."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tflq import cache, flatbuffer
from tflq.activation_widths import int16_ops
from tflq.contract import NO_OPS, FloatOp, NamedOps, float_ops, quantized_activations, signature_violations
from tflq.cost_model import int16_multiply_adds, work
from tflq.datasets import Sample, brackets
from tflq.errors import EvaluationError
from tflq.firmware.io_row import io_rows
from tflq.firmware.runtime_needs import runtime_needs
from tflq.flatbuffer import Graph, Signature, SparseWeights
from tflq.interpreter import Runner
from tflq.modes import Mode
from tflq.result import CompressionStats, File, Port
from tflq.rules import rule_list
from tflq.rules.violation import Violation
from tflq.sources.prepared import PreparedSource
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class VerifiedFile:
    """The facts about a file, and its violations of rules and contract."""

    file: File
    violations: tuple[Violation, ...]
    int16_multiply_adds: int
    """The multiply-adds of one call in ops with int16 activations, for which LiteRT has only slow kernels."""


def verify(
    _: ProgressCallback, path: Path, variant: Mode | None, source: PreparedSource, named: NamedOps = NO_OPS
) -> VerifiedFile:
    """Return the facts about the file, and its violations. Without a variant, only the rules are checked.

    `named` are the ops of the file that the recipe names. EvaluationError if the file cannot be read.
    """
    graph, sparse = dense_graph(path), tuple(flatbuffer.sparse_weights(path.read_bytes()))
    violations = [*rule_list.violations(graph)]
    if variant is not None:
        inputs = {spec: variant.input_dtype(spec.dtype) for spec in source.inputs}
        outputs = {spec: variant.output_dtype(spec.dtype) for spec in source.outputs}
        violations += [*variant.violations(graph, named), *signature_violations(graph, inputs, outputs)]
        violations += [*_sparsity(variant, sparse)]
    violations += [*_lost_weights(graph, variant, source), *_state(graph)]
    in_float = _unknown_in_float(graph) if variant is None else variant.ops_in_float(graph, named)
    file = describe(path, graph, in_float)
    if variant is not None and variant.activations == "int8":
        file = replace(file, int16_ops=tuple(int16_ops(graph)))
    needs = runtime_needs(graph, sparse)
    file = replace(file, sparse_weights=sparse, needs=needs, size_bytes=path.stat().st_size)
    return VerifiedFile(file, tuple(violations), int16_multiply_adds(graph))


def dense_graph(path: Path) -> Graph:
    """Return the graph of the file, with dense constants in place of sparse ones, which compute the same."""
    graph = flatbuffer.load(path)
    is_sparse = any(operator.type == "DENSIFY" for _, operator in graph.operators())
    return flatbuffer.read(flatbuffer.densified(path.read_bytes())) if is_sparse else graph


def _sparsity(variant: Mode, sparse: Sequence[SparseWeights]) -> Iterator[Violation]:
    """Warn if a variant with `sparse: on` has no sparse weights, or if they need another runtime."""
    if variant.sparse == "on" and not sparse:
        message = "stores nothing sparsely, though sparse is on: no weights have enough zeros. Prune the model first"
        yield Violation("V17", "the file", message, "warning")
    saved = sum(weights.saved_bytes for weights in sparse)
    if saved < 0:
        message = (
            f"is {-saved:,} bytes larger with sparse weights, which have too few zeros: remove sparse or prune more"
        )
        yield Violation("V17", "the file", message, "warning")
    if any(weights.dtype == "int8" for weights in sparse):
        message = (
            "has sparse int8 weights, which LiteRT's default delegate (XNNPACK) cannot prepare: create the interpreter"
            " without default delegates. It was measured so"
        )
        yield Violation("V17", "the file", message, "warning")


def _unknown_in_float(graph: Graph) -> tuple[FloatOp, ...]:
    """Return the float ops of a file without a mode, if it has quantized activations."""
    return tuple(float_ops(graph)) if any(True for _ in quantized_activations(graph)) else ()


def compression_stats(_: ProgressCallback, path: Path) -> CompressionStats:
    """Return the size of the file after gzip, in bytes, and statistics of each weight tensor."""
    graph = dense_graph(path)
    return CompressionStats(len(gzip.compress(path.read_bytes(), mtime=0)), tuple(flatbuffer.weights(graph)))


def smoke_test(_: ProgressCallback, path: Path, arrays: Sample, is_open: bool) -> None:
    """Load the file and run it once. If the batch size is open, also run two samples at a time.

    EvaluationError if this fails. A kernel may also crash the worker.
    """
    run = Runner(path)
    run(arrays)
    if is_open:
        _run_two(run, arrays)


def _run_two(run: Runner, arrays: Sample) -> None:
    problem = f"{run.path.name}: runs one sample, but not two at a time, though the recipe has batch_size: dynamic"
    try:
        answers = run({name: np.concatenate([array, array]) for name, array in arrays.items()})
    except EvaluationError as error:
        raise EvaluationError(f"{problem}: {error}") from error
    for name, answer in answers.items():
        if answer.shape[:1] != (2,):
            raise EvaluationError(f"{problem}: then output {name!r} is {brackets(answer.shape)}")


def _state(graph: Graph) -> Iterator[Violation]:
    """Warn of fused recurrent ops. They keep their state between calls, but recurrent layers of the source do not."""
    stateful = [op for sub, op in graph.operators() if any(tensor.is_variable for tensor in sub.read_by(op))]
    if stateful:
        message = "keeps its state from one call to the next: call reset_all_variables() before each new sequence"
        yield Violation("V15", stateful[0].type, message, "warning")


def _lost_weights(graph: Graph, variant: Mode | None, source: PreparedSource) -> Iterator[Violation]:
    """Warn if the file has few constants. The converter silently drops variables that it cannot find.

    It is right to drop variables that no output depends on.
    """
    size_bytes = sum(size for _, size in flatbuffer.size_by_dtype(graph))
    share = {"float32": 0.5, "float16": 0.25}.get(variant.mode if variant else "", 0.125)
    if size_bytes < share * source.weight_bytes:
        yield Violation(
            "V13",
            "the file",
            f"holds {size_bytes:,} bytes of constants, but the source's signature reads {source.weight_bytes:,} bytes"
            " of weights. Either no output depends on most of them, or the converter lost them",
            "warning",
        )


def describe(path: Path, graph: Graph, in_float: tuple[FloatOp, ...]) -> File:
    """Return the facts about the file for the report. `in_float` lists the float ops of an integer file."""
    signature = graph.signatures[0] if graph.signatures else Signature("", 0, (), ())
    return File(
        name=path.name,
        sha256=cache.sha256(path),
        size_bytes=graph.size_bytes,
        ops=dict(sorted(Counter(operator.type for _, operator in graph.operators()).items())),
        float_ops=in_float,
        inputs=_ports(graph, signature.subgraph, signature.inputs),
        outputs=_ports(graph, signature.subgraph, signature.outputs),
        work=work(graph),
        io=io_rows(graph, signature) if graph.subgraphs else (),
    )


def _ports(graph: Graph, subgraph: int, entries: tuple[tuple[str, int], ...]) -> tuple[Port, ...]:
    ports = []
    for name, index in entries:
        tensor = graph.subgraphs[subgraph].tensors[index]
        scale, zero_point = None, None
        if tensor.quantization and tensor.quantization.scales:
            scale, zero_point = tensor.quantization.scales[0], tensor.quantization.first_zero_point
        ports.append(Port(name, tensor.dtype, tensor.shape_signature or tensor.shape, scale, zero_point))
    return tuple(ports)
