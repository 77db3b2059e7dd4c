"""Prepare a float `.tflite` file: one signature with known shapes and float32 constants, as all later stages expect.

A file that needs no change is copied byte for byte. This code runs in a worker.
"""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tflq.cache import tree_bytes
from tflq.datasets import TensorSpec
from tflq.errors import EvaluationError, SourceError
from tflq.flatbuffer import Graph, Signature, edit, load, read, size_by_dtype
from tflq.flatbuffer.float16_constants import fold_float16
from tflq.flatbuffer.one_signature import keep_signature
from tflq.inputs.schema import Input
from tflq.interpreter import refuse_unpreparable
from tflq.sources.outputs import end_model
from tflq.sources.prepared import SIGNATURE, PreparedSource, SourceDescription
from tflq.sources.schema import TFLite
from tflq.sources.shapes import fix_shapes, refuse_strangers
from tflq.sources.tflite_guards import refuse_unsuitable
from tflq.sources.tflite_shapes import has_open_shapes, write_shapes
from tflq.strict import did_you_mean
from tflq.worker import ProgressCallback

PREPARED_TFLITE = "model.tflite"
HINDERING = MappingProxyType(
    {
        "keep_stablehlo_constant": "with it, the int8 quantizer leaves all weights in float",
        "reduced_precision_support": "it allows float16 arithmetic, which only the file of mode float16 should",
    }
)
"""Metadata that is removed, and why."""


def outputs_of(graph: Graph) -> tuple[TensorSpec, ...]:
    """Return the outputs of the only signature, sorted by name."""
    return _specs(graph)[1]


def describe_tflite(_: ProgressCallback, model: TFLite, folder: Path) -> SourceDescription:
    """Return the chosen signature of the file, or the first one. SourceError if the file cannot be a source."""
    graph = refuse_unsuitable(model.path, model.signature, model.outputs)
    keys = tuple(signature.key for signature in graph.signatures)
    if model.signature is None and keys:
        model = model.model_copy(update={"signature": keys[0]})
    folder.mkdir(parents=True, exist_ok=True)
    reduced = _reduce(model, graph, folder / PREPARED_TFLITE)[0]
    tensors = [tensor for subgraph in reduced.subgraphs for tensor in subgraph.tensors]
    largest = max((math.prod(tensor.shape) for tensor in tensors if tensor.is_constant and tensor.is_float), default=0)
    return SourceDescription(model.signature or SIGNATURE, *_specs(reduced), keys, largest)


def prepare_tflite(_: ProgressCallback, model: TFLite, inputs: Mapping[str, Input], folder: Path) -> PreparedSource:
    """Write the file with only the recipe's signature into `folder`, with float32 constants and all shapes known.

    Raise SourceError if the file cannot be a source or LiteRT cannot prepare it. Raise RecipeError if the recipe does
    not fit its inputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / PREPARED_TFLITE
    graph, notes = _reduce(model, refuse_unsuitable(model.path, model.signature, model.outputs), target)
    given, _outputs = _specs(graph)
    refuse_strangers(inputs, given)
    specs = fix_shapes(given, model.batch_size, inputs)
    try:
        if has_open_shapes(graph, specs):
            content = edit.unpack(target.read_bytes())
            write_shapes(target, graph, content, specs)
            edit.write(content, target)
        refuse_unpreparable(target)
    except EvaluationError as error:
        remedy = "correct the shapes in inputs, or export the model again with fixed shapes or another exporter"
        raise SourceError(f"{model.path}: LiteRT cannot run it ({remedy}): {error}") from error
    graph, notes = load(target), (*notes, *_packed_files(model.path))
    weights = dict(size_by_dtype(graph)).get("float32", 0)
    return PreparedSource(None, target, specs, _specs(graph)[1], tree_bytes(model.path), weights, notes)


def _reduce(model: TFLite, graph: Graph, target: Path) -> tuple[Graph, tuple[str, ...]]:
    """Write the file with one signature and float32 constants. Return its graph and what was changed, as sentences."""
    _refuse_unknown_signature(model, graph)
    content = edit.unpack(model.path.read_bytes())
    notes = tuple(_changes(model, graph, content))
    is_changed = keep_signature(content, model.signature, SIGNATURE)
    if model.outputs is not None:
        end_model(content, read(edit.pack(content)), model.outputs)
        is_changed = True
    if notes or is_changed or _is_outside(model.path):
        edit.write(content, target)
    else:
        shutil.copyfile(model.path, target)
    return load(target), notes


def _changes(model: TFLite, graph: Graph, content: Any) -> Iterator[str]:
    """Change the constants and the metadata, and yield a sentence for each kind of change."""
    if count := fold_float16(content):
        are = "1 float16 constant is" if count == 1 else f"{count} float16 constants are"
        yield f"{model.path.name}: {are} float32 in the float32 file, from which all files are made"
    content.metadata = [entry for entry in content.metadata or [] if entry.name.decode() not in HINDERING]
    for entry in graph.metadata:
        if entry.name in HINDERING:
            yield f"{model.path.name}: the metadata {entry.name} was removed, because {HINDERING[entry.name]}"


def _packed_files(path: Path) -> Iterator[str]:
    """Yield a sentence about files that are packed behind the model, such as labels."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = ", ".join(archive.namelist()[:5])
        yield f"{path.name}: the files that are packed into it ({names}) are not in quantized files: pack them again"


def _is_outside(path: Path) -> bool:
    """Return whether the file holds constants behind the flatbuffer. TensorFlow's quantizers do not look there."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes())
    return any(model.Buffers(place).Offset() > 1 for place in range(model.BuffersLength()))


def _refuse_unknown_signature(model: TFLite, graph: Graph) -> None:
    keys = [signature.key for signature in graph.signatures]
    if model.signature is None and len(keys) > 1:
        raise SourceError(f"{model.path}: has the signatures {', '.join(keys)}: choose one with model.signature")
    if model.signature is not None and model.signature not in keys:
        has = ", ".join(keys) if keys else "none at all: remove model.signature"
        hint = did_you_mean(model.signature, keys)
        raise SourceError(f"{model.path}: there is no signature {model.signature!r}{hint}; it has {has}")


def _specs(graph: Graph) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and the outputs of the only signature, sorted by name."""
    (signature,) = graph.signatures
    return _side(graph, signature, signature.inputs), _side(graph, signature, signature.outputs)


def _side(graph: Graph, signature: Signature, entries: tuple[tuple[str, int], ...]) -> tuple[TensorSpec, ...]:
    tensors = graph.subgraphs[signature.subgraph].tensors
    found = ((name, tensors[index]) for name, index in sorted(entries))
    return tuple(
        TensorSpec(
            name,
            tensor.dtype,
            tuple(None if size == -1 else size for size in tensor.shape_signature) if tensor.has_rank else None,
        )
        for name, tensor in found
    )
