"""Run a .tflite file on named float arrays. No other module creates a LiteRT interpreter."""

from __future__ import annotations

import importlib.metadata
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflq.datasets import brackets
from tflq.errors import EvaluationError, printable_line
from tflq.flatbuffer import has_sparse_integers

Arrays = Mapping[str, np.ndarray]

MAX_WARMUP_SECONDS, MIN_TIMED_SECONDS, SECONDS_PER_CALL = 0.2, 0.3, 0.01
"""The time limits for all warm-up calls, and for all timed calls: at least MIN_TIMED_SECONDS.

Calls are slow if kernels use no vector instructions.
"""


@dataclass(frozen=True)
class LatencyStats:
    """The latency of one call in milliseconds, on this machine, with these kernels."""

    median: float
    p90: float
    runs: int
    threads: int
    kernels: str


class Runner:
    """A model in LiteRT's interpreter. It is called with the arrays of its one signature, by name.

    If an input of the file is a quantized float, the array is quantized with rounding and clipping. Quantized outputs
    are dequantized. The default is one thread. A file with sparse int8 weights runs without the default delegate, which
    cannot prepare it.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load the model. EvaluationError if LiteRT cannot load or allocate it."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.path, self.threads = path, threads
        try:
            types = OpResolverType
            resolver = types.BUILTIN_WITHOUT_DEFAULT_DELEGATES if has_sparse_integers(path) else types.AUTO
            self._interpreter = Interpreter(
                model_path=_path(path), num_threads=threads, experimental_op_resolver_type=resolver
            )
            self._interpreter.allocate_tensors()
            keys = list(self._interpreter.get_signature_list())
        except (ValueError, RuntimeError) as error:
            raise EvaluationError(f"{path.name}: LiteRT cannot run this file: {_cause(error)}") from error
        if len(keys) != 1:
            has = f"the signatures {', '.join(keys)}" if keys else "no signature"
            raise EvaluationError(f"{path.name}: has {has}, but exactly one is needed to name inputs and outputs")
        self._runner = self._interpreter.get_signature_runner(keys[0])
        self._inputs: Mapping[str, Any] = self._runner.get_input_details()
        self._outputs: Mapping[str, Any] = self._runner.get_output_details()

    def __call__(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs by name. Quantized floats are returned as float32. EvaluationError if a kernel fails.

        Calls are independent: the state of fused recurrent ops is cleared before each call.
        """
        raw = self._run(self._file_inputs(arrays))
        return {name: dequantized(output, self._outputs[name]) for name, output in raw.items()}

    def _file_inputs(self, arrays: Arrays) -> Arrays:
        """Return the inputs in the dtypes of the file."""
        return {name: quantized(self._input(arrays, name), detail) for name, detail in self._inputs.items()}

    def _run(self, file_inputs: Arrays) -> Arrays:
        try:
            self._interpreter.reset_all_variables()
            raw: Arrays = self._runner(**file_inputs)
        except (ValueError, RuntimeError) as error:
            raise EvaluationError(
                f"{self.path.name}: LiteRT failed while running this file: {_cause(error)}"
            ) from error
        return raw

    def _input(self, arrays: Arrays, name: str) -> np.ndarray:
        """Return the array of that input. EvaluationError if its shape is wrong: LiteRT would resize the input."""
        if name not in arrays:
            raise EvaluationError(
                f"{self.path.name}: has an input {name!r}, but the inputs of the model are {', '.join(arrays)}"
            )
        array, sizes = arrays[name], self._inputs[name]["shape_signature"]
        if array.ndim != len(sizes) or any(size not in (-1, has) for size, has in zip(sizes, array.shape, strict=True)):
            expected = brackets([None if size == -1 else int(size) for size in sizes])
            raise EvaluationError(
                f"{self.path.name}: input {name!r} takes {expected}, but the recipe gives {brackets(array.shape)}"
            )
        return array

    def kernels(self) -> str:
        """Return the kernels that run the model: `LiteRT 2.3.0, XNNPACK`, or `…, built-in` if XNNPACK runs no op."""
        delegated = any(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())
        return f"LiteRT {importlib.metadata.version('ai-edge-litert')}, {'XNNPACK' if delegated else 'built-in'}"

    def time(self, arrays: Arrays, runs: int, warmup: int) -> LatencyStats:
        """Measure `runs` calls after `warmup` untimed ones. If calls are slow, a time limit reduces their number.

        The inputs are quantized before, because on a device they already have the dtype of the file.
        """
        file_inputs = self._file_inputs(arrays)
        self._milliseconds(file_inputs, warmup, MAX_WARMUP_SECONDS, least=1)
        seconds = max(MIN_TIMED_SECONDS, SECONDS_PER_CALL * runs)
        milliseconds = self._milliseconds(file_inputs, runs, seconds, least=3)
        median, p90 = np.percentile(milliseconds, [50, 90])
        return LatencyStats(float(median), float(p90), len(milliseconds), self.threads, self.kernels())

    def _milliseconds(self, file_inputs: Arrays, count: int, seconds: float, least: int) -> list[float]:
        """Return the milliseconds of each call. After the `least` ones, no call starts when the time is over."""
        milliseconds: list[float] = []
        while len(milliseconds) < count and (len(milliseconds) < least or sum(milliseconds) < seconds * 1000):
            start = time.perf_counter()
            self._run(file_inputs)
            milliseconds.append((time.perf_counter() - start) * 1000)
        return milliseconds


@dataclass(frozen=True)
class Probe:
    """The tensors of the first subgraph after one call."""

    shapes: Mapping[int, tuple[int, ...]]
    """Tensor → its shape."""
    values: Mapping[int, np.ndarray]
    """Tensor → its value, for the tensors that were asked for."""


def probe(path: Path, shapes: Mapping[int, tuple[int, ...]], fill: int, wanted: Collection[int] = ()) -> Probe:
    """Run the file once with inputs of these shapes, whose elements are all `fill`. No delegate runs an op.

    `shapes` maps the inputs of the first subgraph to their shapes, and `wanted` are tensors whose values are returned.
    EvaluationError if LiteRT cannot prepare or run the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_path=_path(path),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        for index, shape in shapes.items():
            interpreter.resize_tensor_input(index, shape)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.full(detail["shape"], fill, detail["dtype"]))
        interpreter.invoke()
        found = {detail["index"]: tuple(map(int, detail["shape"])) for detail in interpreter.get_tensor_details()}
        return Probe(found, {index: interpreter.get_tensor(index) for index in wanted})
    except (ValueError, RuntimeError) as error:
        raise EvaluationError(_failing_op(error)) from error


def refuse_unpreparable(path: Path) -> None:
    """Raise EvaluationError with the op and the cause if LiteRT cannot prepare the file.

    This is tried without XNNPACK first, which does not name the op.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    for resolver in (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.AUTO):
        try:
            interpreter = Interpreter(_path(path), num_threads=1, experimental_op_resolver_type=resolver)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise EvaluationError(_failing_op(error)) from error


def _path(path: Path) -> str:
    """Return the path as LiteRT takes it. EvaluationError if it is not UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        name = printable_line(str(path))
        raise EvaluationError(f"{name}: LiteRT opens only files whose path is UTF-8: rename the file") from error
    return str(path)


@dataclass(frozen=True)
class RawOutputs:
    """The outputs of a few calls in the dtypes and in the order of the file, and the kernels that computed them."""

    calls: tuple[tuple[np.ndarray, ...], ...]
    kernels: str


def reference_outputs(content: bytes, calls: Sequence[Sequence[np.ndarray]]) -> RawOutputs:
    """Run the file with inputs in the dtypes and in the order of the file, on LiteRT's reference kernels.

    If these cannot run the file, the built-in kernels do. EvaluationError if they cannot, either.
    """
    from ai_edge_litert.interpreter import OpResolverType

    try:
        return RawOutputs(_raw(content, calls, OpResolverType.BUILTIN_REF), "LiteRT's reference kernels")
    except (ValueError, RuntimeError):
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        return RawOutputs(_raw(content, calls, resolver), "LiteRT's built-in kernels")
    except (ValueError, RuntimeError) as error:
        raise EvaluationError(_failing_op(error)) from error


def _raw(content: bytes, calls: Sequence[Sequence[np.ndarray]], resolver: Any) -> tuple[tuple[np.ndarray, ...], ...]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
    outputs = []
    for arrays in calls:
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.resize_tensor_input(detail["index"], array.shape)
        interpreter.allocate_tensors()
        interpreter.reset_all_variables()
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        outputs.append(tuple(interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()))
    return tuple(outputs)


def _failing_op(error: Exception) -> str:
    """Return which op fails and LiteRT's reason."""
    text = " ".join(str(error).split())
    node = re.search(r"Node number (\d+) \((\w+)\) failed to (\w+)", text)
    if node is None:
        return text[:400]
    reason = text[: node.start()].strip()[:300]
    return f"its op {node[1]}, {node[2]}, fails to {node[3]}: {reason}"


def quantized(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Return the array in the dtype of the tensor. For a quantized tensor: q = clip(round(x / scale) + zero_point)."""
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if scale == 0 or array.dtype == dtype:
        return np.asarray(array, dtype, order="C")
    limits = np.iinfo(dtype)
    steps = np.rint(array.astype(np.float64) / scale) + zero_point
    clipped: np.ndarray = np.clip(steps, limits.min, limits.max).astype(dtype)
    return clipped


def dequantized(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Return (q − zero_point) · scale in float32, or the array unchanged if the tensor is not quantized."""
    scale, zero_point = detail["quantization"]
    if scale == 0 or array.dtype.kind == "f":
        return array
    real: np.ndarray = (array.astype(np.float64) - zero_point) * scale
    return real.astype(np.float32)


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "Select TensorFlow op" in text:
        return (
            "it has TensorFlow ops (select_tf_ops), which need the Flex runtime, and LiteRT for Python has none:"
            " measure it on the device"
        )
    if "unresolved custom op" in text:
        return f"it has custom ops (allow_custom_ops), for which LiteRT has no kernel: {text[:400]}"
    node = re.search(r"Node number \d+ \((\w+)\)", text)
    if node and "out of bounds" in text:
        return (
            f"its {node[1]} op reads beyond its table: an id in the data, or one that the model computes, is too large"
        )
    if node and re.search(r"support|->type", text):
        return f"LiteRT has no kernel for this {node[1]} op, so try another mode: {text[:400]}"
    if node:
        return f"its {node[1]} op fails, so try another mode: {text[:400]}"
    return text[:400]
