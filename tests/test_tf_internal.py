"""The converter's inner parts make what the public converter makes, byte for byte, from the same ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_tflite import minus_from_zeros, sum_of_channels
from observing import gathered_from, observed, preserved
from running import Recipes

from tflq import conversion
from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData
from tflq.calibrate.ranges import Range, RangeMethod
from tflq.errors import ConversionError, SourceError
from tflq.flatbuffer import edit, load
from tflq.interpreter import Runner
from tflq.modes import Dynamic, Float16, Float32, Int8, Int8Only, Int16x8, Int16x8Only, Mode
from tflq.sources.prepare import prepare
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.worker import Task, Workers

MODELS = ["tiny_conv_residual", "two_outputs", "tiny_dense"]
PLAIN = [Float32(), Dynamic(), Float16(), Dynamic(per_channel=False)]
INTEGER: list[Mode] = [
    Int8(),
    Int8(per_channel=False),
    Int8(per_channel_dense=False),
    Int8(inference_input_type="uint8"),
    Int8Only(),
    Int8Only(inference_input_type="uint8", inference_output_type="float32"),
    Int16x8(bias_type="int64"),
    Int16x8(bias_type="int64", inference_output_type="int16"),
    Int16x8Only(),
]


class Bench:
    """A model prepared, its float32 file, its samples and the ranges that TensorFlow's calibrator finds."""

    def __init__(self, workers: Workers, model: Path, rows: Path, folder: Path) -> None:
        self.workers, self.folder = workers, folder
        self.source: PreparedSource = self._run(prepare, SavedModel(saved_model=model), {}, folder / "source")
        self.float32 = self.made(conversion.convert, Float32())
        self.calibration_samples = gathered_from(self.float32, rows, folder / "samples")
        self.base = folder / "base.tflite"
        self.theirs: tuple[Range, ...] = self._run(
            conversion.calibrate, self.float32, self.calibration_samples.samples, self.base
        )

    def _run(self, function: Any, *arguments: Any) -> Any:
        return self.workers.run(Task("test", function, arguments, SourceError)).value

    def made(self, function: Any, variant: Mode, *more: Any) -> Path:
        target = self.folder / f"{len(list(self.folder.iterdir()))}.tflite"
        self._run(function, self.source, variant, target, *more)
        return target

    def quantized(self, ranges: tuple[Range, ...], variant: Mode, base: Path | None = None) -> Path:
        target = self.folder / f"{len(list(self.folder.iterdir()))}.tflite"
        self._run(conversion.quantize, base or self.base, ranges, variant, target)
        return target


@pytest.fixture(scope="module")
def benches(recipes: Recipes, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Bench]]:
    rows = {"tiny_dense": data / "vectors.npz"}
    with Workers(tmp_path_factory.mktemp("log") / "log", None, lambda _: None) as workers:
        yield {
            model: Bench(
                workers,
                recipes.models / model,
                rows.get(model, data / "images.npz"),
                tmp_path_factory.mktemp(model),
            )
            for model in MODELS
        }


def body(path: Path) -> bytes:
    """The file without what it says of how it was made."""
    model = edit.unpack(path.read_bytes())
    for entry in model.metadata:
        model.buffers[entry.buffer].data = None
    model.metadata = None
    return edit.pack(model)


@pytest.mark.parametrize("variant", PLAIN, ids=lambda variant: variant.mode)
@pytest.mark.parametrize("model", MODELS)
def test_files_without_ranges_are_the_public_converter_s(benches: dict[str, Bench], model: str, variant: Mode) -> None:
    bench = benches[model]
    ours, theirs = bench.made(conversion.convert, variant), bench.made(conversion.convert_publicly, variant)
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(
    ("model", "variant"),
    [
        pytest.param(model, variant, id=f"{model}-{variant.mode}")
        for model in MODELS
        for variant in INTEGER
        if (model, variant.mode) != ("tiny_conv_residual", "int16x8_only")  # it has an op without 16-bit kernel
    ],
)
def test_files_of_the_same_ranges_are_the_public_converter_s(
    benches: dict[str, Bench], model: str, variant: Mode
) -> None:
    bench = benches[model]
    ours = bench.quantized(bench.theirs, variant)
    theirs = bench.made(conversion.convert_publicly, variant, bench.calibration_samples.samples)
    assert body(ours) == body(theirs)


@pytest.fixture(scope="module")
def residual(benches: dict[str, Bench]) -> Bench:
    return benches["tiny_conv_residual"]


def test_only_ranges_that_tensorflow_gets_wrong_differ(residual: Bench) -> None:
    """Its calibrator reads the input of an op that computes in place after the op has overwritten it."""
    seen = observed(residual.float32, residual.calibration_samples)
    ours = {
        one.tensor: one
        for one in CalibrationData(residual.float32, ActivationStatistics(seen, {})).ranges(RangeMethod("minmax", 8))
    }
    true = preserved(residual.float32, residual.calibration_samples)
    wrong = set()
    for one in residual.theirs:
        exact = min(call[one.tensor].min() for call in true), max(call[one.tensor].max() for call in true)
        assert (ours[one.tensor].minimum, ours[one.tensor].maximum) == exact
        if (one.minimum, one.maximum) != pytest.approx(exact, rel=1e-4, abs=1e-5):
            wrong.add(one.tensor)
    assert wrong, "TensorFlow's calibrator has been mended: the sentence about it in the documents can go"
    ranges = tuple(ours[one.tensor] if one.tensor in wrong else one for one in residual.theirs)
    mended, stock = residual.quantized(ranges, Int8()), residual.quantized(residual.theirs, Int8())
    names = {load(residual.float32).subgraphs[0].tensors[tensor].name for tensor in wrong}
    changed = {
        one.name for one, other in zip(*(tensors(file) for file in (mended, stock)), strict=True) if one != other
    }
    assert {name for name in changed if not any(part in name for part in names)} == set()


def tensors(file: Path) -> list[Any]:
    return [one for one in load(file).subgraphs[0].tensors if not one.is_constant]


def test_activations_that_never_leave_zero_have_a_scale_in_16_bits(residual: Bench) -> None:
    ranges = tuple(
        Range(one.subgraph, one.tensor, one.name, 0.0, 0.0, 0.0, 0.0) if place == 5 else one
        for place, one in enumerate(residual.theirs)
    )
    graph = load(residual.quantized(ranges, Int16x8()))
    assert all(all(one.quantization.scales) for one in graph.subgraphs[0].tensors if one.quantization)


def test_biases_that_share_a_tensor_get_a_scale_each(residual: Bench, tmp_path: Path) -> None:
    """Two ops read one bias, which the 16-bit quantizer scales for the first of them alone."""
    model = edit.unpack(residual.base.read_bytes())
    convolutions = [op for op in model.subgraphs[0].operators if len(op.inputs) == 3 and op.inputs[2] >= 0][:2]
    first, second = convolutions
    second.inputs[2] = first.inputs[2]
    bias = model.subgraphs[0].tensors[first.inputs[2]]
    model.buffers.append(type(model.buffers[0])(data=np.frombuffer(np.full(16, 0.5, "<f4").tobytes(), np.uint8)))
    bias.buffer = len(model.buffers) - 1
    edit.write(model, tmp_path / "shared.tflite")
    (graph,) = load(residual.quantized(residual.theirs, Int16x8(), tmp_path / "shared.tflite")).subgraphs
    biases = [graph.input(op, 2) for op in graph.operators if op.type == "CONV_2D"][:2]
    values = [np.asarray(one.data) * np.array(one.quantization.scales) for one in biases if one and one.quantization]
    assert all(value == pytest.approx(0.5, rel=1e-3) for value in values)
    assert len(values) == 2


def test_file_says_how_it_was_made(residual: Bench) -> None:
    made = load(residual.quantized(residual.theirs, Int8()))
    assert {entry.name for entry in made.metadata} == {"min_runtime_version", "CONVERSION_METADATA"}


def test_nothing_is_missing_of_this_tensorflow(residual: Bench) -> None:
    assert residual._run(conversion.missing_internals) is None


def test_public_converter_takes_over_where_something_is_missing(
    recipes: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where TensorFlow has renamed what is private."""
    monkeypatch.setattr(conversion, "missing_internals", nothing_there)
    ran = recipes.run("tiny_conv", ["float32", "int8", "int16x8"])
    assert ran.codes == {"float32": 0, "int8": 0, "int16x8": 0}
    assert any(said.endswith("internal functions that tflq uses: no such part") for said in ran.result.warnings)
    assert ran.report["ranges"]["found_by"] == "the public converter"
    assert not any(stage.startswith("observe") for stage in ran.stages)


@pytest.mark.parametrize("method", ["mse", {"percentile": 99.9}])
def test_public_converter_knows_no_method_but_minmax(
    recipes: Recipes, data: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    monkeypatch.setattr(conversion, "missing_internals", nothing_there)
    calibration = {"dataset": {"npz": str(data / "vectors.npz")}, "ranges": method}
    ran = recipes.run("tiny_dense", ["dynamic", "int8"], calibration=calibration)
    assert ran.codes == {"dynamic": 0, "int8": 5}
    assert str(ran.variant("int8").error) == (
        "calibration.ranges: this model supports only minmax, because the public converter computes the ranges; this"
        " TensorFlow version lacks internal functions that tflq uses (no such part); write minmax"
    )


def nothing_there(_: object) -> str:
    return "no such part"


def test_errors_are_explained(residual: Bench) -> None:
    with pytest.raises(ConversionError, match="calibration never reached the tensor "):
        residual.workers.run(
            Task("t", conversion.quantize, (residual.base, (), Int16x8Only(), residual.folder / "x"), SourceError)
        )


def in_int16(float32: Path, end: float) -> Path:
    """The int16x8 file of a model of one op, whose input is from -1 to 1 and whose output is from -end to end."""
    ranges = Range(0, 0, "x", -1.0, 1.0, -1.0, 1.0), Range(0, 1, "y", -end, end, -end, end)
    target = float32.with_name("int16.tflite")
    with Workers(float32.with_name("log"), None, lambda _: None) as workers:
        workers.run(Task("test", conversion.quantize, (float32, ranges, Int16x8(), target), ConversionError))
    return target


def test_int16_sum_is_not_clipped_to_the_range_of_what_it_adds(tmp_path: Path) -> None:
    file = in_int16(sum_of_channels(tmp_path / "sum.tflite"), 16.0)
    assert Runner(file)({"x": np.ones((1, 16), np.float32)})["y"] == pytest.approx(16, abs=0.02)


def test_int16_constant_of_zeros_has_a_scale(tmp_path: Path) -> None:
    file = in_int16(minus_from_zeros(tmp_path / "minus.tflite"), 1.0)
    scales = [tensor.quantization.scales[0] for tensor in load(file).subgraphs[0].tensors if tensor.dtype == "int16"]
    assert min(scales) > 1e-6
    np.testing.assert_allclose(Runner(file)({"x": np.ones((1, 16), np.float32)})["y"], -1, atol=0.001)
