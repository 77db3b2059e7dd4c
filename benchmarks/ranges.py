"""Observed ranges against the true ones: every tensor preserved, read back and folded in NumPy.

`python -m benchmarks.ranges MODEL...` does it for SavedModel folders, on random samples; a model whose inputs should
be other numbers may be given as MODEL=DATA.npz, with a column for each input, already as the model takes them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tflq import conversion, flatbuffer
from tflq.calibrate.observe import activations, merge, observe, obstacle
from tflq.calibrate.samples import CalibrationSamples, read_samples
from tflq.calibrate.schema import Calibration
from tflq.errors import TflqError
from tflq.inputs.schema import Input
from tflq.modes import Float32
from tflq.sources.prepare import describe, prepare
from tflq.sources.saved_model import SavedModel
from tflq.worker import ProgressCallback, Task, Workers

SAMPLES = 8
KERNELS = {"XNNPACK": OpResolverType.AUTO, "built-in": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


@dataclass(frozen=True)
class Deviation:
    """The largest difference of an observed extreme from the true one, as a part of its tensor's range."""

    largest: float
    tensor: str


def main(arguments: list[str]) -> None:
    print("| model | activations | from XNNPACK's own | from the built-in kernels' | in |")
    print("| --- | --- | --- | --- | --- |")
    for argument in arguments:
        model, _, data = argument.partition("=")
        with tempfile.TemporaryDirectory() as folder, Workers(Path(folder, "log"), None, lambda _: None) as workers:
            print(f"| {Path(model).name} | {_row(Path(model), data, Path(folder), workers)} |", flush=True)


def _row(model: Path, data: str, folder: Path, workers: Workers) -> str:
    try:
        return workers.run(Task("compare", compare, (model, data, folder), TflqError)).value
    except TflqError as error:
        return f"{str(error)[:200]} | | |"


def compare(report: ProgressCallback, model: Path, data: str, folder: Path) -> str:
    """The cells of a row; sizes that the model leaves open are 64."""
    signature = describe(report, SavedModel(saved_model=model), folder)
    shapes = {spec.name: (1, *(size or 64 for size in (spec.shape or ())[1:])) for spec in signature.inputs}
    inputs = {name: Input(shape=shape) for name, shape in shapes.items()}
    source = prepare(report, SavedModel(saved_model=model), inputs, folder / "source")
    float32 = folder / "float32.tflite"
    conversion.convert(report, source, Float32(), float32)
    graph = flatbuffer.load(float32)
    if why := obstacle(graph):
        return f"not observed: {why} | | | "
    dataset: dict[str, Any] = {"npz": data} if data else {"random": {}}
    asked = Calibration.model_validate({"dataset": dataset, "samples": SAMPLES})
    calibration_samples: CalibrationSamples = read_samples(report, asked, inputs, source, folder / "samples")
    calls = range(calibration_samples.samples.number_of_calls)
    seen = merge(graph, [observe(report, float32, calibration_samples.samples, calls)])
    lowest, highest = seen.minima.min(0), seen.maxima.max(0)
    observed = {
        index: (float(low), float(high)) for index, low, high in zip(seen.tensors, lowest, highest, strict=True)
    }
    names = {tensor.index: tensor.name for tensor in graph.subgraphs[0].tensors}
    near, far = (
        _deviation(observed, _truth(float32, calibration_samples, kernels), names) for kernels in KERNELS.values()
    )
    return f"{len(observed)} | {near.largest:.1e} | {far.largest:.1e} | {far.tensor[-60:]}"


def _truth(
    float32: Path, calibration_samples: CalibrationSamples, kernels: OpResolverType
) -> dict[int, tuple[float, float]]:
    interpreter = Interpreter(
        str(float32), num_threads=1, experimental_preserve_all_tensors=True, experimental_op_resolver_type=kernels
    )
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    graph = flatbuffer.load(float32)
    folded: dict[int, tuple[float, float]] = {}
    for arrays in calibration_samples.samples.calls(range(calibration_samples.samples.number_of_calls)):
        run(**arrays)
        for index in activations(graph):
            values = interpreter.get_tensor(index)
            low, high = folded.get(index, (np.inf, -np.inf))
            folded[index] = min(low, float(values.min())), max(high, float(values.max()))
    return folded


def _deviation(
    observed: Mapping[int, tuple[float, float]], truth: Mapping[int, tuple[float, float]], names: Mapping[int, str]
) -> Deviation:
    found = []
    for index, (low, high) in truth.items():
        width = max(high - low, abs(high), abs(low)) or 1.0
        apart = max(abs(observed[index][0] - low), abs(observed[index][1] - high))
        found.append((apart / width, index))
    largest, index = max(found)
    return Deviation(largest, names[index])


if __name__ == "__main__":
    main(sys.argv[1:])
