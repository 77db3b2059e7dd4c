"""Plan the activations of a file in one block of memory, as TensorFlow Lite Micro's greedy planner does.

The tensors are placed by size, the largest first. Each takes the lowest gap among the tensors that are alive with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflq.flatbuffer import ABSENT, Graph, Operator, Options, Subgraph, Tensor
from tflq.targets.scratch import scratch_sizes

ALIGNMENT = 16
"""The alignment of each tensor in bytes."""
_HANDLE_BYTES = 4
"""The size of a variable's handle."""
_BODIES = {
    "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
    "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
    "CALL_ONCE": ("initSubgraphIndex",),
}
"""The options that name the subgraphs of an op of control flow."""
_OFFLINE = "OfflineMemoryAllocation"
"""The metadata of a file whose tensors have fixed places."""
_HEADER = 3


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor with its place. It is alive from step `first` to step `last`, both included."""

    name: str
    size: int
    first: int
    last: int
    offset: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.size

    def meets(self, other: PlannedTensor) -> bool:
        """Return whether both are alive at the same time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of one call with reference kernels. Those of a vendor may need other scratch buffers."""

    tensors: tuple[PlannedTensor, ...]
    variable_bytes: int
    """The size of variables, which keep their values between calls."""

    @property
    def activation_bytes(self) -> int:
        """The size of the block that all activations share."""
        return max((tensor.end for tensor in self.tensors), default=0)


def memory_plan(graph: Graph, options: tuple[tuple[Options, ...], ...]) -> MemoryPlan:
    """Return the plan of all subgraphs. `options` are those of the ops of each subgraph."""
    lifetimes = _Lifetimes(graph, options)
    if graph.subgraphs:
        lifetimes.mark(graph.subgraphs[0])
    fixed = _fixed_offsets(graph)
    waiting, placed, variable_bytes = list[PlannedTensor](), list[PlannedTensor](), 0
    numbers = [(subgraph, tensor) for subgraph in graph.subgraphs for tensor in subgraph.tensors]
    for number, (subgraph, tensor) in enumerate(numbers):
        size = aligned(_size(tensor))
        offset = fixed[number] if number < len(fixed) else -1
        if tensor.is_variable and offset < 0:
            variable_bytes += size
        elif not tensor.is_constant and size and (subgraph.index, tensor.index) not in lifetimes.handles:
            first, last = lifetimes.found.get((subgraph.index, tensor.index), (-1, -1))
            planned = PlannedTensor(tensor.name, size, first, last, max(offset, 0))
            (waiting if offset < 0 else placed).append(planned)
    waiting += lifetimes.scratch
    # Of tensors of one size, the last one comes first, as in TensorFlow Lite Micro.
    for _, tensor_to_place in sorted(enumerate(waiting), key=lambda each: (-each[1].size, -each[0])):
        placed.append(_placed(tensor_to_place, placed))
    return MemoryPlan(tuple(placed), variable_bytes)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _size(tensor: Tensor) -> int:
    if tensor.dtype == "resource":
        return _HANDLE_BYTES
    return tensor.needed_bytes


def _placed(tensor: PlannedTensor, others: list[PlannedTensor]) -> PlannedTensor:
    """Return the tensor in the lowest gap among the others that are alive with it."""
    offset = 0
    for other in sorted((each for each in others if each.meets(tensor)), key=lambda each: each.offset):
        if other.offset - offset >= tensor.size:
            break
        offset = max(offset, other.end)
    return PlannedTensor(tensor.name, tensor.size, tensor.first, tensor.last, offset)


def _fixed_offsets(graph: Graph) -> tuple[int, ...]:
    """Return the offset of each tensor that the file fixes; -1 for a tensor that is to be planned."""
    for entry in graph.metadata:
        if entry.name == _OFFLINE:
            numbers = np.frombuffer(entry.data[: len(entry.data) // 4 * 4], "<i4")
            return tuple(numbers[_HEADER:].tolist())
    return ()


class _Lifetimes:
    """The first and the last step of each tensor. Each op is a step, and so are the ops of the subgraphs it calls."""

    def __init__(self, graph: Graph, options: tuple[tuple[Options, ...], ...]) -> None:
        self.found: dict[tuple[int, int], tuple[int, int]] = {}
        self.scratch: list[PlannedTensor] = []
        self.handles: set[tuple[int, int]] = set()
        """The handles of variables, which the runtime keeps elsewhere."""
        self._graph, self._options = graph, options
        self._step = 0
        self._open: set[int] = set()

    def mark(self, subgraph: Subgraph) -> None:
        """Note the steps of the tensors of the subgraph, and of the subgraphs that it calls."""
        self._open.add(subgraph.index)
        self._use(subgraph, subgraph.inputs)
        for operator in subgraph.operators:
            self._step += 1
            self._use(subgraph, operator.outputs)
            start = self._step
            for body in self._bodies(subgraph, operator):
                self._step += 1
                self.mark(body)
            self._use(subgraph, operator.inputs, creates=False)
            self._use(subgraph, operator.outputs)
            self._note(subgraph, operator, start)
        self._use(subgraph, subgraph.outputs)
        self._open.discard(subgraph.index)

    def _note(self, subgraph: Subgraph, operator: Operator, start: int) -> None:
        """Note the scratch buffers of the op, and whether it writes a handle."""
        if operator.type == "VAR_HANDLE":
            self.handles |= {(subgraph.index, index) for index in operator.outputs}
        for size in scratch_sizes(subgraph, operator):
            self.scratch.append(PlannedTensor(f"scratch of {operator.type}", aligned(size), start, self._step))

    def _bodies(self, subgraph: Subgraph, operator: Operator) -> list[Subgraph]:
        names = _BODIES.get(operator.type, ())
        options = self._options[subgraph.index][operator.index] if names else {}
        numbers = [options[name] for name in names if name in options]
        subgraphs = self._graph.subgraphs
        return [subgraphs[number] for number in numbers if 0 <= number < len(subgraphs) and number not in self._open]

    def _use(self, subgraph: Subgraph, tensors: tuple[int, ...], creates: bool = True) -> None:
        for tensor in tensors:
            if tensor != ABSENT:
                key = (subgraph.index, tensor)
                first, _ = self.found.get(key, (self._step if creates else -1, 0))
                self.found[key] = (first, self._step)
