"""What becomes of an activation's values before anything else is made of them: a LEAKY_RELU, a sigmoid, a hard swish.

An error of its integers counts as the function leaves it. What a function makes small or flat needs no fine steps, and
may be cut off.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from math import prod

import numpy as np

from tflq.flatbuffer import Operator, Subgraph, Tensor

Function = Callable[[np.ndarray], np.ndarray]
ROOT_2_OVER_PI = float(np.sqrt(2 / np.pi))


def identity(values: np.ndarray) -> np.ndarray:
    return values


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray((1 + np.tanh(values / 2)) / 2)


def _sloped(values: np.ndarray, slope: float) -> np.ndarray:
    return np.where(values > 0, values, values * slope)


def _elu(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


def _gelu(values: np.ndarray) -> np.ndarray:
    """By tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2); the exact one differs by less than 0.001."""
    return np.asarray(values * (1 + np.tanh(ROOT_2_OVER_PI * (values + 0.044715 * values**3))) / 2)


def _hard_swish(values: np.ndarray) -> np.ndarray:
    return np.asarray(values * np.clip(values + 3, 0, 6) / 6)


_OPS: Mapping[str, Callable[..., np.ndarray]] = {
    "NONE": identity,
    "RELU": partial(np.maximum, 0),
    "RELU6": partial(np.clip, a_min=0, a_max=6),
    "RELU_N1_TO_1": partial(np.clip, a_min=-1, a_max=1),
    "LEAKY_RELU": _sloped,
    "PRELU": _sloped,
    "LOGISTIC": _sigmoid,
    "TANH": np.tanh,
    "ELU": _elu,
    "GELU": _gelu,
    "HARD_SWISH": _hard_swish,
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
}
"""Of one value, or of two."""


def following_activations(subgraph: Subgraph) -> dict[int, Function]:
    """For each activation of which nothing but one function of its values is read, that function."""
    readers: dict[int, list[int]] = {}
    for operator in subgraph.operators:
        for tensor in set(operator.inputs):
            readers.setdefault(tensor, []).append(operator.index)
    found = {tensor: _function(subgraph, readers, tensor) for tensor in readers}
    return {tensor: function for tensor, function in found.items() if function is not None}


def _function(subgraph: Subgraph, readers: Mapping[int, Sequence[int]], tensor: int) -> Function | None:
    """None where something reads the activation itself, or two functions of it."""
    known: dict[int, Function] = {tensor: identity}
    waiting, read = list(readers[tensor]), {tensor} & set(subgraph.outputs)
    while waiting:
        operator = subgraph.operators[heapq.heappop(waiting)]
        if known.keys() & set(operator.outputs):  # it reads two that are known
            continue
        found = [_operand(subgraph, operator, position, known) for position in range(len(operator.inputs))]
        operands = [operand for operand in found if operand is not None]
        if not {operator.type, operator.fused} <= _OPS.keys() or len(operands) < len(found):
            read |= known.keys() & set(operator.inputs)
            continue
        (made,) = operator.outputs
        known[made] = partial(_applied, operator, operands)
        read |= {made} & set(subgraph.outputs)
        for reader in readers.get(made, ()):
            heapq.heappush(waiting, reader)
    if len(read) != 1 or tensor in read or _is_gate(subgraph, readers, min(read)):
        return None
    return known[min(read)]


def _is_gate(subgraph: Subgraph, readers: Mapping[int, Sequence[int]], tensor: int) -> bool:
    """Whether an activation that is as large is multiplied by it, which makes its errors as large as that one is."""
    size = prod(subgraph.tensors[tensor].shape)
    multiplied = [subgraph.operators[reader] for reader in readers.get(tensor, ())]
    others = {index for operator in multiplied if operator.type == "MUL" for index in operator.inputs} - {tensor}
    return any(prod(one.shape) >= size for one in map(subgraph.tensors.__getitem__, others) if not one.is_constant)


def _operand(subgraph: Subgraph, operator: Operator, position: int, known: Mapping[int, Function]) -> Function | None:
    """What the op reads there as a function of the activation; None where it is none, or not one number for all."""
    tensor = subgraph.input(operator, position)
    if tensor is not None and tensor.index in known:
        return known[tensor.index]
    number = None if tensor is None else _number(operator, tensor)
    return None if number is None else lambda _: np.array(number)


def _number(operator: Operator, constant: Tensor) -> float | None:
    """The one that the constant is; of slopes the root of their mean square, since it is their squares that count."""
    data = constant.data
    if data is None or constant.dtype != "float32" or (data.size != 1 and operator.type != "PRELU"):
        return None
    return float(np.sqrt(np.square(data, dtype=np.float64).mean()) if operator.type == "PRELU" else data.item())


def _applied(operator: Operator, operands: Sequence[Function], values: np.ndarray) -> np.ndarray:
    read = [operand(values) for operand in operands]
    if operator.type == "LEAKY_RELU":
        read.append(np.array(operator.slope))
    return _OPS[operator.fused](_OPS[operator.type](*read))


def keeping_positive(subgraph: Subgraph) -> Iterator[tuple[int, int]]:
    """What ops that leave positive values as they are read, where nothing else reads it, and what they make of it.

    Such values are rounded once, and not twice, where both have one range.
    """
    readers = Counter(chain(subgraph.outputs, *(set(operator.inputs) for operator in subgraph.operators)))
    for operator in subgraph.operators:
        if operator.type in ("RELU", "LEAKY_RELU", "PRELU") and readers[operator.inputs[0]] == 1:
            yield operator.inputs[0], operator.outputs[0]
