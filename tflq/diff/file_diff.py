"""The comparison of two .tflite files: what they are, and what differs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq import flatbuffer, verify
from tflq.contract import FloatOp
from tflq.diff.graph_diff import GraphDiff, GraphOptions, compare_graphs
from tflq.diff.outputs import OutputsDiff
from tflq.errors import EvaluationError, TflqError
from tflq.flatbuffer import Graph
from tflq.result import File, Gate


@dataclass(frozen=True)
class ReadFile:
    """A file that was read: its graph and the facts about it."""

    path: Path
    graph: Graph
    file: File
    size_by_dtype: dict[str, int]
    """The bytes of the constants by dtype."""
    runtime: str
    """The oldest TensorFlow Lite that has all ops; empty if the file does not say."""


@dataclass(frozen=True)
class FileDiff:
    """The differences between two files."""

    before: ReadFile
    after: ReadFile
    graph: GraphDiff
    outputs: OutputsDiff | TflqError | None = None
    """The outputs on the same samples, or why they cannot be compared; None without a recipe."""
    gates: tuple[Gate, ...] = ()

    @property
    def are_identical(self) -> bool:
        """Whether both files have the same bytes."""
        return self.before.file.sha256 == self.after.file.sha256

    @property
    def size_ratio(self) -> float:
        return self.after.file.size_bytes / self.before.file.size_bytes

    @property
    def exit_code(self) -> int:
        """1 if a gate failed, or the code of the error if the outputs cannot be compared; else 0."""
        failed = any(not gate.passed for gate in self.gates)
        error = self.outputs.exit_code if isinstance(self.outputs, TflqError) else 0
        return max(error, 1 if failed else 0)


def read_file(path: Path) -> ReadFile:
    """Read a .tflite file. EvaluationError, with the path, if it cannot be read or is not a complete file."""
    graph = flatbuffer.load(path)
    in_float = tuple(
        FloatOp(operator.type, next((tensor.name for tensor in subgraph.written_by(operator)), ""), "")
        for subgraph, operator in flatbuffer.float_operators(graph)
    )
    sizes = dict(flatbuffer.size_by_dtype(graph))
    return ReadFile(path, graph, verify.describe(path, graph, in_float), sizes, graph.minimum_runtime_version or "")


def compare_files(before: ReadFile, after: ReadFile) -> FileDiff:
    """Return the differences, without outputs and gates."""
    options = _options(before.path), _options(after.path)
    return FileDiff(before, after, compare_graphs(before.graph, after.graph, options))


def _options(path: Path) -> GraphOptions:
    try:
        return flatbuffer.operator_options(path.read_bytes())
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error
