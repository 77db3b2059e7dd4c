"""float16 and dynamic files from the float32 file are those of the converter: ops, constants, metadata and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import made_once, run_script

from tflq import conversion
from tflq.conversion.from_float32 import PROVEN, is_eligible
from tflq.errors import SourceError
from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor, edit, load, read
from tflq.modes import Dynamic, Float16, Float32, Mode, Weights8
from tflq.sources.prepare import prepare
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.worker import Task, Workers, preload_tensorflow

OPEN = "any number of "
"""Before the name of a model whose batch size is open."""
OWN = (
    OPEN + "convolutions",
    "convolutions",
    "recurrent",
    "attention",
    "shared",
    "products",
    "lookups",
    "elementwise",
    "comparisons",
    "fused_lstm",
)
OTHERS = {"branches": 3, "fake_quantized": 1, "counter": 2}
"""Models that are converted from the source: control flow, fake-quantize ops and a variable."""
VARIANTS: dict[str, Mode] = {
    "float16": Float16(),
    "dynamic": Dynamic(),
    "one scale": Dynamic(per_channel=False),
    "one scale of dense": Dynamic(per_channel_dense=False),
}


class Conversions:
    """Sources, their float32 files, and the files that each way of conversion makes of them."""

    def __init__(self, workers: Workers, folder: Path, folders: tuple[Path, Path]) -> None:
        self.workers, self.folder, self.folders = workers, folder, folders
        self.prepared: dict[str, tuple[PreparedSource, Path]] = {}

    def _run(self, function: Any, *arguments: Any) -> Any:
        return self.workers.run(Task("test", function, arguments, SourceError)).value

    def source(self, name: str) -> tuple[PreparedSource, Path]:
        if name not in self.prepared:
            model = name.removeprefix(OPEN)
            (path,) = (folder / model for folder in self.folders if (folder / model).exists())
            saved = SavedModel(saved_model=path, batch_size=1 if model == name else "dynamic")
            source = self._run(prepare, saved, {}, self.folder / name)
            float32 = self.folder / f"{name}-float32.tflite"
            self._run(conversion.convert, source, Float32(), float32)
            self.prepared[name] = source, float32
        return self.prepared[name]

    def files(self, name: str, variant: Mode) -> tuple[Path, Path]:
        """The file that is made from the float32 file, and that which is made from the source."""
        source, float32 = self.source(name)
        ours, theirs = (self.folder / f"{name}-{kind}.tflite" for kind in ("ours", "theirs"))
        self._run(conversion.convert_from_float32, float32, source, variant, ours)
        self._run(conversion.convert, source, variant, theirs)
        return ours, theirs

    def file_of(self, source: PreparedSource, variant: Mode, float32: Path) -> Path:
        target = self.folder / f"{float32.stem}-{variant.mode}-of-tflite.tflite"
        self._run(conversion.convert_from_float32, float32, source, variant, target)
        return target


@pytest.fixture(scope="module")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    preload_tensorflow()
    return made_once(tmp_path_factory, "models_float32", partial(run_script, "models_float32.py"))


@pytest.fixture(scope="module")
def conversions(own_models: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversions]:
    folder = tmp_path_factory.mktemp("converted")
    with Workers(folder / "log", None, lambda _: None) as workers:
        yield Conversions(workers, folder, (own_models, models))


def meaning(graph: Graph, place: int = 0) -> list[Any]:
    """All that decides what a file computes: its ops in order, with their constants. Indices and names are left out.

    The converter's float16 file sets the state of a fused LSTM to float16 zeros in each call; it is a variable here.
    """
    subgraph = graph.subgraphs[place]
    known: dict[int, Any] = {index: ("input", place) for place, index in enumerate(subgraph.inputs)}
    operators = [operator for operator in subgraph.operators if not dequantizes_weights(subgraph, operator)]
    for operator in subgraph.operators:
        if dequantizes_weights(subgraph, operator):
            (index,), (output,) = operator.inputs, operator.outputs
            if subgraph.tensors[output].is_variable:
                continue
            known[output] = "dequantized", operator.version, contents(subgraph.tensors[index])
    found: list[Any] = []
    for place, operator in enumerate(operators):
        known |= {index: (place, position) for position, index in enumerate(operator.outputs)}
        read = [known.get(index, index < 0 or contents(subgraph.tensors[index])) for index in operator.inputs]
        outputs = [contents(tensor) for tensor in subgraph.written_by(operator)]
        found.append((operator.type, operator.version, operator.fused, operator.slope, read, outputs))
    return [*found, [known.get(index, contents(subgraph.tensors[index])) for index in subgraph.outputs]]


def dequantizes_weights(subgraph: Subgraph, operator: Operator) -> bool:
    return operator.type == "DEQUANTIZE" and subgraph.tensors[operator.inputs[0]].is_constant


def contents(tensor: Tensor) -> Any:
    stored = None if tensor.stored is None else tensor.stored.tobytes()
    return tensor.dtype, tensor.shape, tensor.shape_signature, tensor.quantization, stored


def asymmetric_inputs(file: Path) -> list[Any]:
    """Whether each op that has the option quantizes its inputs with a zero point."""
    options = [operator.builtinOptions for operator in edit.unpack(file.read_bytes()).subgraphs[0].operators]
    return [each.asymmetricQuantizeInputs for each in options if hasattr(each, "asymmetricQuantizeInputs")]


def outputs(file: Path) -> dict[str, np.ndarray]:
    """The outputs of the file's signature for random inputs."""
    interpreter, random = Interpreter(str(file), num_threads=1), np.random.default_rng(4)
    runner = interpreter.get_signature_runner()
    inputs = {
        name: random.normal(0, 1, detail["shape"]).astype(np.float32)
        if detail["dtype"] == np.float32
        else random.integers(0, 20, detail["shape"]).astype(detail["dtype"])
        for name, detail in sorted(runner.get_input_details().items())
    }
    found: dict[str, np.ndarray] = runner(**inputs)
    return found


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        *((name, variant) for name in OWN for variant in ("float16", "dynamic")),
        *((name, variant) for name in ("convolutions", "attention") for variant in ("one scale", "one scale of dense")),
    ],
)
def test_file_is_that_of_the_converter(conversions: Conversions, name: str, variant: str) -> None:
    mode = VARIANTS[variant]
    _, float32 = conversions.source(name)
    assert is_eligible(edit.unpack(float32.read_bytes()))
    ours, theirs = conversions.files(name, mode)
    one, other = load(ours), load(theirs)
    assert meaning(one) == meaning(other)
    assert asymmetric_inputs(ours) == asymmetric_inputs(theirs)
    assert names(one) == names(other)
    assert {entry.name for entry in one.metadata} == {entry.name for entry in other.metadata}
    assert one.minimum_runtime_version == other.minimum_runtime_version
    assert one.size_bytes <= other.size_bytes * 1.01
    if variant == "one scale":
        return  # LiteRT reads past the only scale of a convolution with groups, whoever made the file
    results, expected = outputs(ours), outputs(theirs)
    assert results.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(results[key], values)


def names(graph: Graph) -> Any:
    """The signature, and the names of the inputs and outputs of the graph."""
    (signature,), (subgraph,) = graph.signatures, graph.subgraphs
    places = [*subgraph.inputs, *subgraph.outputs]
    entries = [(name, places.index(index)) for name, index in (*signature.inputs, *signature.outputs)]
    return signature.key, entries, [subgraph.tensors[index].name for index in places]


def test_every_op_that_is_allowed_is_compared(conversions: Conversions) -> None:
    files = [load(conversions.source(name)[1]) for name in OWN]
    assert {operator.type for graph in files for _, operator in graph.operators()} == PROVEN


@pytest.mark.parametrize("mode", ["float16", "dynamic"])
@pytest.mark.parametrize("name", ["constant_output", *OTHERS])
def test_other_models_are_converted_from_the_source(conversions: Conversions, name: str, mode: str) -> None:
    _, float32 = conversions.source(name)
    assert len(load(float32).subgraphs) == OTHERS.get(name, 1)
    assert not is_eligible(edit.unpack(float32.read_bytes()))
    ours, theirs = conversions.files(name, VARIANTS[mode])
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("mode", ["float16", "dynamic"])
@pytest.mark.parametrize("name", ["constant_output", "branches", "counter"])
def test_their_tflite_files_give_what_the_converter_makes(conversions: Conversions, name: str, mode: str) -> None:
    """A .tflite source has nothing but the float32 file, whatever its ops."""
    source, float32 = conversions.source(name)
    _, theirs = conversions.files(name, VARIANTS[mode])
    one = conversions.file_of(replace(source, original=None, path=float32), VARIANTS[mode], float32)
    graphs = load(one), load(theirs)
    for place in range(len(graphs[1].subgraphs)):
        assert meaning(graphs[0], place) == meaning(graphs[1], place)
    for key, values in outputs(theirs).items():
        np.testing.assert_array_equal(outputs(one)[key], values)


def test_infinite_weights_and_sparse_tensors_are_converted_from_the_source(conversions: Conversions) -> None:
    content = conversions.source("attention")[1].read_bytes()
    place = next(tensor for tensor in read(content).subgraphs[0].tensors if tensor.is_constant and tensor.is_float)
    model = edit.unpack(content)
    buffer = model.buffers[model.subgraphs[0].tensors[place.index].buffer]
    buffer.data = np.full(place.size_bytes // 4, np.inf, "<f4").view(np.uint8)
    assert not is_eligible(model)
    model = edit.unpack(content)
    model.subgraphs[0].tensors[place.index].sparsity = object()
    assert not is_eligible(model)


def test_same_file_is_made_again(conversions: Conversions) -> None:
    for mode in (Float16(), Dynamic()):
        files = [conversions.files("attention", mode)[0].read_bytes() for _ in range(2)]
        assert files[0] == files[1]


@pytest.mark.parametrize("name", [*OWN[1:], *(name for name in OTHERS if name != "fake_quantized")])
def test_weights8_is_made_from_every_float32_file(conversions: Conversions, name: str) -> None:
    source, float32 = conversions.source(name)
    ours = conversions.folder / f"{name}-weights8.tflite"
    conversions._run(conversion.convert_from_float32, float32, source, Weights8(), ours)
    one, other = load(ours), load(float32)
    types = [[op.type for _, op in graph.operators() if op.type != "DEQUANTIZE"] for graph in (one, other)]
    assert types[0] == types[1]
    small = not any(op.type == "DEQUANTIZE" for _, op in one.operators())
    said = [violation.message for violation in Weights8().violations(one)]
    assert all(message.startswith("is still a float32 file") for message in said) if small else not said
    for key, values in outputs(float32).items():
        noise, power = np.square(outputs(ours)[key] - 1.0 * values).sum(), np.square(1.0 * values).sum()
        assert noise <= power / 100


def test_keep_float_gives_ops_their_float_weights(conversions: Conversions) -> None:
    variant = Dynamic(keep_float=("CONV_2D",))
    ours, theirs = conversions.files("convolutions", variant)
    assert meaning(load(ours)) == meaning(load(theirs))
    (kept,) = load(ours).subgraphs
    weights = [kept.input(operator, 1) for operator in kept.operators if operator.type == "CONV_2D"]
    assert {tensor.dtype for tensor in weights if tensor} == {"float32"}
