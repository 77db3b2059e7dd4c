"""A finished file held to what was asked: its bytes are read, its rules and contract checked, and it is run once."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq import cache, flatbuffer, rules
from tflq.contract import FloatOp, float_ops, quantized_activations, signature_violations
from tflq.datasets import Sample, brackets
from tflq.errors import EvaluationError
from tflq.flatbuffer import Graph, Signature
from tflq.interpreter import Runner
from tflq.modes import Mode
from tflq.result import CompressionStats, File, Port
from tflq.rules import Violation
from tflq.sources import Prepared
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class VerifiedFile:
    file: File
    violations: tuple[Violation, ...]


def verify(
    _: ProgressCallback, path: Path, variant: Mode | None, source: Prepared, kept: Collection[int] = ()
) -> VerifiedFile:
    """What the file holds and where it breaks its contract; a file without a variant has only to keep the rules.

    `kept` are the ops of the file that keep_float names.
    """
    graph = flatbuffer.load(path)
    found = [*rules.violations(graph)]
    if variant is not None:
        inputs = {spec: variant.input_dtype(spec.dtype) for spec in source.inputs}
        outputs = {spec: variant.output_dtype(spec.dtype) for spec in source.outputs}
        found += [*variant.violations(graph, kept), *signature_violations(graph, inputs, outputs)]
    found += [*_lost_weights(graph, variant, source), *_state(graph)]
    is_integer = any(True for _ in quantized_activations(graph)) if variant is None else variant.is_integer
    return VerifiedFile(describe(path, graph, tuple(float_ops(graph, kept)) if is_integer else ()), tuple(found))


def compression_stats(_: ProgressCallback, path: Path) -> CompressionStats:
    """The file's weights, one by one, and its size as gzip sends it."""
    graph = flatbuffer.load(path)
    return CompressionStats(len(gzip.compress(path.read_bytes(), mtime=0)), tuple(flatbuffer.weights(graph)))


def smoke_test(_: ProgressCallback, path: Path, arrays: Sample, is_open: bool) -> None:
    """Allocate the file and run it once; EvaluationError, or the worker's death, where that cannot be done.

    Where the number of samples is open, run two at a time as well.
    """
    run = Runner(path)
    run(arrays)
    if is_open:
        _run_two(run, arrays)


def _run_two(run: Runner, arrays: Sample) -> None:
    said = f"{run.path.name}: runs one sample, but not two at a time, though batch_size: dynamic was asked"
    try:
        answers = run({name: np.concatenate([array, array]) for name, array in arrays.items()})
    except EvaluationError as error:
        raise EvaluationError(f"{said}: {error}") from error
    for name, answer in answers.items():
        if answer.shape[:1] != (2,):
            raise EvaluationError(f"{said}: then output {name!r} is {brackets(answer.shape)}")


def _state(graph: Graph) -> Iterator[Violation]:
    """A source's recurrent layer begins anew with each call; the fused op that it becomes does not."""
    kept = [op for sub, op in graph.operators() if any(tensor.is_variable for tensor in sub.read_by(op))]
    if kept:
        message = "keeps its state from one call to the next: call reset_all_variables() before each new sequence"
        yield Violation("V15", kept[0].type, message, "warning")


def _lost_weights(graph: Graph, variant: Mode | None, source: Prepared) -> Iterator[Violation]:
    """The converter drops variables that it cannot find and says nothing, but rightly those that no output needs."""
    held = sum(size for _, size in flatbuffer.size_by_dtype(graph))
    share = {"float32": 0.5, "float16": 0.25}.get(variant.mode if variant else "", 0.125)
    if held < share * source.weight_bytes:
        yield Violation(
            "V13",
            "the file",
            f"holds {held:,} bytes of constants, where the source's signature reads {source.weight_bytes:,} bytes of"
            " weights: most of them serve no output, or the converter lost them",
            "warning",
        )


def describe(path: Path, graph: Graph, in_float: tuple[FloatOp, ...]) -> File:
    """The file as the report has it; ops in float are told of one that should compute in integers."""
    signature = graph.signatures[0] if graph.signatures else Signature("", 0, (), ())
    return File(
        name=path.name,
        sha256=cache.sha256(path),
        size_bytes=graph.size_bytes,
        ops=dict(sorted(Counter(operator.type for _, operator in graph.operators()).items())),
        float_ops=in_float,
        inputs=_ports(graph, signature.subgraph, signature.inputs),
        outputs=_ports(graph, signature.subgraph, signature.outputs),
    )


def _ports(graph: Graph, subgraph: int, entries: tuple[tuple[str, int], ...]) -> tuple[Port, ...]:
    ports = []
    for name, index in entries:
        tensor = graph.subgraphs[subgraph].tensors[index]
        scale, zero_point = None, None
        if tensor.quantization and tensor.quantization.scales:
            scale, zero_point = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
        ports.append(Port(name, tensor.dtype, tensor.shape_signature or tensor.shape, scale, zero_point))
    return tuple(ports)
