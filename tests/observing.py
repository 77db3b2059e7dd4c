"""Calibration without a run around it: samples of a float32 file, and what every one of its activations was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from running import Recipes

from tflq.calibrate.following_activation import identity
from tflq.calibrate.histogram import Counts, Histogram, _bins, histogram
from tflq.calibrate.observe import Observation, activations, merge, observe, shards
from tflq.calibrate.samples import CalibrationSamples, read_samples
from tflq.calibrate.schema import Calibration
from tflq.datasets import TensorSpec
from tflq.flatbuffer import load
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel

NOWHERE = Path("nowhere")


def nothing(done: int, total: int) -> None:
    pass


def source_of(float32: Path) -> PreparedSource:
    """The signature of the file, as that of a source."""
    graph = load(float32)
    (signature,), (subgraph, *_) = graph.signatures, graph.subgraphs

    def specs(pairs: tuple[tuple[str, int], ...]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, subgraph.tensors[i].dtype, subgraph.tensors[i].shape) for name, i in pairs)

    return PreparedSource(
        SavedModel(saved_model=NOWHERE), NOWHERE, specs(signature.inputs), specs(signature.outputs), 0, 0
    )


def gathered_from(float32: Path, rows: Path, folder: Path, samples: int = 20) -> CalibrationSamples:
    asked = Calibration.model_validate({"dataset": {"npz": rows}, "samples": samples})
    return read_samples(nothing, asked, {}, source_of(float32), folder)


def fixtures_for(model: str) -> tuple[object, object]:
    """Two fixtures of a test module: the float32 file of the model, and samples of images gathered for it."""

    @pytest.fixture(scope="module")
    def float32(recipes: Recipes) -> Path:
        return recipes.run(model, ["float32"], calibration=None).file("float32")

    @pytest.fixture(scope="module")
    def calibration_samples(float32: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSamples:
        return gathered_from(float32, data / "images.npz", tmp_path_factory.mktemp("samples"))

    return float32, calibration_samples


def observed(float32: Path, calibration_samples: CalibrationSamples, parts: int = 1) -> Observation:
    ranges = shards(calibration_samples.samples.number_of_calls, parts)
    return merge(load(float32), [observe(nothing, float32, calibration_samples.samples, calls) for calls in ranges])


def preserved(float32: Path, calibration_samples: CalibrationSamples) -> list[dict[int, np.ndarray]]:
    """Every activation of every call, read back from an interpreter that overwrites none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that this is for debugging
        interpreter = Interpreter(str(float32), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    run, numbers = interpreter.get_signature_runner(), activations(load(float32))
    answers = []
    for arrays in calibration_samples.samples.calls(range(calibration_samples.samples.number_of_calls)):
        run(**arrays)
        answers.append({number: interpreter.get_tensor(number) for number in numbers})
    return answers


def counted(values: np.ndarray) -> Histogram:
    return histogram([Counts(*np.unique(_bins(np.asarray(values, np.float32)), return_counts=True))])


def squared_error(
    values: np.ndarray, low: float, high: float, bits: int = 8, function: Callable[[np.ndarray], np.ndarray] = identity
) -> float:
    """The mean, of integers of so many bits, as quantizers make them, once the function was applied."""
    step = (high - low) / (2**bits - 1)
    zero = np.rint(-low / step)
    integers = np.clip(np.rint(values.astype(np.float64) / step) + zero, 0, 2**bits - 1)
    return float(np.square(function((integers - zero) * step) - function(values)).mean())
