"""The elementwise function that follows an activation, such as a LEAKY_RELU, a sigmoid or a hard swish.

The quantization error of an activation matters only after that function. Where the function is flat, the range needs no
fine steps and may be clipped.
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
    """Return the tanh approximation of GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2).

    The exact function differs by less than 0.001.
    """
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
"""The elementwise functions of ops and of fused activations, by op type. They take one operand or two."""


def following_activations(subgraph: Subgraph) -> dict[int, Function]:
    """Return for each activation the one function of it that other ops read.

    An activation is left out if an op reads it directly, or if ops read two different functions of it.
    """
    readers: dict[int, list[int]] = {}
    for operator in subgraph.operators:
        for tensor in set(operator.inputs):
            readers.setdefault(tensor, []).append(operator.index)
    functions = {tensor: _function(subgraph, readers, tensor) for tensor in readers}
    return {tensor: function for tensor, function in functions.items() if function is not None}


def _function(subgraph: Subgraph, readers: Mapping[int, Sequence[int]], tensor: int) -> Function | None:
    """Follow the elementwise ops from the activation on, in the order of the ops. Return None without one function."""
    functions: dict[int, Function] = {tensor: identity}
    waiting, read = list(readers[tensor]), {tensor} & set(subgraph.outputs)
    while waiting:
        operator = subgraph.operators[heapq.heappop(waiting)]
        if functions.keys() & set(operator.outputs):  # the op reads two of the tensors and was followed already
            continue
        candidates = [_operand(subgraph, operator, position, functions) for position in range(len(operator.inputs))]
        operands = [operand for operand in candidates if operand is not None]
        if not {operator.type, operator.fused} <= _OPS.keys() or len(operands) < len(candidates):
            read |= functions.keys() & set(operator.inputs)
            continue
        (output,) = operator.outputs
        functions[output] = partial(_apply, operator, operands)
        read |= {output} & set(subgraph.outputs)
        for reader in readers.get(output, ()):
            heapq.heappush(waiting, reader)
    if len(read) != 1 or tensor in read or _is_gate(subgraph, readers, min(read)):
        return None
    return functions[min(read)]


def _is_gate(subgraph: Subgraph, readers: Mapping[int, Sequence[int]], tensor: int) -> bool:
    """Return whether the tensor multiplies an activation that is as large. That activation then scales its errors."""
    size = prod(subgraph.tensors[tensor].shape)
    multiplied = [subgraph.operators[reader] for reader in readers.get(tensor, ())]
    others = {index for operator in multiplied if operator.type == "MUL" for index in operator.inputs} - {tensor}
    return any(prod(t.shape) >= size for t in map(subgraph.tensors.__getitem__, others) if not t.is_constant)


def _operand(
    subgraph: Subgraph, operator: Operator, position: int, functions: Mapping[int, Function]
) -> Function | None:
    """Return the op's input as a function of the activation. Return None if it is neither that nor one number."""
    tensor = subgraph.input(operator, position)
    if tensor is not None and tensor.index in functions:
        return functions[tensor.index]
    number = None if tensor is None else _number(operator, tensor)
    return None if number is None else lambda _: np.array(number)


def _number(operator: Operator, constant: Tensor) -> float | None:
    """Return the number that the constant holds. For slopes of PRELU, return their root mean square."""
    data = constant.data
    if data is None or constant.dtype != "float32" or (data.size != 1 and operator.type != "PRELU"):
        return None
    return float(np.sqrt(np.square(data, dtype=np.float64).mean()) if operator.type == "PRELU" else data.item())


def _apply(operator: Operator, operands: Sequence[Function], values: np.ndarray) -> np.ndarray:
    arguments = [operand(values) for operand in operands]
    if operator.type == "LEAKY_RELU":
        arguments.append(np.array(operator.slope))
    return _OPS[operator.fused](_OPS[operator.type](*arguments))


def keeping_positive(subgraph: Subgraph) -> Iterator[tuple[int, int]]:
    """Yield the input and output of each op that keeps positive values, if no other op reads the input.

    If both have one range, positive values are rounded once instead of twice.
    """
    readers = Counter(chain(subgraph.outputs, *(set(operator.inputs) for operator in subgraph.operators)))
    for operator in subgraph.operators:
        if operator.type in ("RELU", "LEAKY_RELU", "PRELU") and readers[operator.inputs[0]] == 1:
            yield operator.inputs[0], operator.outputs[0]
