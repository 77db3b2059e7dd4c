"""Run a .tflite on named float arrays; the only file that builds an Interpreter."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflq.errors import EvaluationError

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call of the model, on this machine, with these kernels."""

    median: float
    p90: float
    runs: int
    threads: int
    kernels: str


class Runner:
    """A model in LiteRT's interpreter, called with the arrays of its one signature by name, one thread by default.

    Inputs are quantized with rounding and clipping where the model takes integers for a float, outputs dequantized.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        """EvaluationError where the model cannot be loaded or allocated."""
        from ai_edge_litert.interpreter import Interpreter

        self.path, self.threads = path, threads
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            (key,) = self._interpreter.get_signature_list()
            self._runner = self._interpreter.get_signature_runner(key)
        except (ValueError, RuntimeError) as error:
            raise EvaluationError(f"{path.name}: LiteRT cannot run this file: {_cause(error)}") from error
        self._inputs: Mapping[str, Any] = self._runner.get_input_details()
        self._outputs: Mapping[str, Any] = self._runner.get_output_details()

    def __call__(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The outputs, float32 where the file holds a quantized float; EvaluationError where a kernel fails."""
        fed = {name: quantized(arrays[name], detail) for name, detail in self._inputs.items()}
        try:
            raw = self._runner(**fed)
        except (ValueError, RuntimeError) as error:
            raise EvaluationError(f"{self.path.name}: LiteRT fails while it runs this file: {_cause(error)}") from error
        return {name: dequantized(output, self._outputs[name]) for name, output in raw.items()}

    def kernels(self) -> str:
        """Which kernels run the model: `LiteRT 2.3.0, XNNPACK`, or `…, built-in` where XNNPACK takes no op."""
        delegated = any(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())
        return f"LiteRT {importlib.metadata.version('ai-edge-litert')}, {'XNNPACK' if delegated else 'built-in'}"

    def time(self, arrays: Arrays, runs: int, warmup: int) -> Latency:
        """The time of `runs` calls after `warmup` others; fewer once they took half a minute."""
        for _ in range(warmup):
            self(arrays)
        milliseconds: list[float] = []
        while len(milliseconds) < runs and (len(milliseconds) < 3 or sum(milliseconds) < 30_000):
            start = time.perf_counter()
            self(arrays)
            milliseconds.append((time.perf_counter() - start) * 1000)
        median, p90 = np.percentile(milliseconds, [50, 90])
        return Latency(float(median), float(p90), len(milliseconds), self.threads, self.kernels())


def quantized(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """The array in the tensor's dtype: q = clip(round(x / scale) + zero_point) where the tensor is quantized."""
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if scale == 0 or array.dtype == dtype:
        return np.ascontiguousarray(array, dtype)
    limits = np.iinfo(dtype)
    steps = np.rint(array.astype(np.float64) / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantized(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """The real values, (q − zero_point) · scale, in float32; the array itself where the tensor is not quantized."""
    scale, zero_point = detail["quantization"]
    if scale == 0 or array.dtype.kind == "f":
        return array
    return ((array.astype(np.float64) - zero_point) * scale).astype(np.float32)


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split())
    flex = "it holds TensorFlow ops (select_tf_ops), which need the Flex runtime; " if "Flex" in text else ""
    return flex + text[:400]
