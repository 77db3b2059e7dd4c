"""Export the float model as a SavedModel with one signature of known shapes, and predict with TensorFlow.

This code runs in a worker.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflq.cache import tree_bytes
from tflq.datasets import Sample, TensorSpec, brackets
from tflq.errors import SourceError
from tflq.inputs.schema import Input
from tflq.sources.fast_save import save_function
from tflq.sources.half_precision import refuse_half_precision
from tflq.sources.keras_file import Keras
from tflq.sources.prepared import EXPORTED, SIGNATURE, PreparedSource, SourceDescription
from tflq.sources.saved_model import SavedModel
from tflq.sources.schema import TFLite
from tflq.sources.shapes import fix_shapes, refuse_strangers
from tflq.sources.tflite_file import describe_tflite, prepare_tflite
from tflq.sources.unreadable import UNREADABLE, cannot_load, read_by_tensorflow
from tflq.strict import did_you_mean
from tflq.worker import ProgressCallback, require_own_process


def describe(report: ProgressCallback, model: SavedModel | Keras | TFLite, folder: Path) -> SourceDescription:
    """Return the signature of the model, or its first signature if it has none of that name.

    A Keras model is exported into the folder. Raise SourceError if the model cannot be loaded.
    """
    if isinstance(model, TFLite):
        return describe_tflite(report, model, folder)
    require_own_process()  # the names in an export count what TensorFlow and Keras made before in the process
    with read_by_tensorflow(model.path):
        return _description(model, folder)


def _description(model: SavedModel | Keras, folder: Path) -> SourceDescription:
    original, _ = model.saved(folder, {})
    loaded = _load(original)
    keys = tuple(sorted(loaded.signatures))
    if keys and original.signature not in keys:
        original = original.model_copy(update={"signature": keys[0]})
    function = _signature(original, loaded)
    largest = _largest_weight(function)
    return SourceDescription(original.signature, _inputs(function), _outputs(function), keys, largest)


def _largest_weight(function: Any) -> int:
    """Return the number of elements of the largest float variable or constant that the function may read."""
    import tensorflow as tf

    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for each in definition.library.function for node in each.node_def)]
    constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    sizes = [
        math.prod(size.size for size in tensor.tensor_shape.dim)
        for tensor in constants
        if tf.dtypes.as_dtype(tensor.dtype).is_floating
    ]
    variables = [variable.shape for variable in function.graph.variables if variable.dtype.is_floating]
    return int(max([0, *sizes, *(shape.num_elements() or 0 for shape in variables)]))


def prepare(
    report: ProgressCallback, model: SavedModel | Keras | TFLite, inputs: Mapping[str, Input], folder: Path
) -> PreparedSource:
    """Export only the recipe's signature into `folder`, with all shapes known.

    The converter reads this export instead of the source. If a source has several signatures, the converter may take
    the wrong one. It also loses variables that only the signature refers to. Raise SourceError if the model cannot be
    loaded or exported, and RecipeError if the recipe does not fit its inputs.
    """
    if isinstance(model, TFLite):
        return prepare_tflite(report, model, inputs, folder)
    require_own_process()  # the names in an export count what TensorFlow and Keras made before in the process
    with read_by_tensorflow(model.path):
        return _export(model, inputs, folder)


def _export(model: SavedModel | Keras, inputs: Mapping[str, Input], folder: Path) -> PreparedSource:
    if isinstance(model, Keras) and (prepared := _traced(model, inputs, folder)):
        return prepared
    original, notes = model.saved(folder / EXPORTED, inputs)
    loaded = _load(original)
    function = _signature(original, loaded)
    fixed = _FixedFunction.of(model, function, inputs)
    _save(fixed.function, fixed.variables, loaded, folder / "model")
    _rename(folder / "model", {key: spec.name for key, spec in fixed.arguments.items() if key != spec.name})
    return fixed.prepared(original, folder / "model", notes)


def _traced(model: Keras, inputs: Mapping[str, Input], folder: Path) -> PreparedSource | None:
    """Save the model without an export; return None if it needs one.

    The copy that is compared with the float32 file is then the one that is converted.
    """
    traced, notes = model.traced(folder / EXPORTED, inputs)
    if traced is None:
        return None
    fixed, target = _FixedFunction.of(model, traced.function, inputs), folder / "model"
    if save_function(fixed.function, fixed.variables, target):
        return fixed.prepared(SavedModel(saved_model=target), target, notes)
    shutil.rmtree(target, ignore_errors=True)
    return None


@dataclass(frozen=True)
class _FixedFunction:
    """The function of a signature for inputs of exactly the shapes that the recipe gives."""

    model: SavedModel | Keras
    function: Any
    """The concrete function."""
    variables: list[Any]
    """The TensorFlow variables that it reads."""
    arguments: Mapping[str, TensorSpec]
    """The inputs by the parameters of the function."""

    @staticmethod
    def of(model: SavedModel | Keras, function: Any, inputs: Mapping[str, Input]) -> _FixedFunction:
        """Fix the shapes of a concrete function. Raise SourceError or RecipeError if the recipe does not fit it."""
        refuse_half_precision(model.path, function)
        refuse_strangers(inputs, _inputs(function))
        specs = fix_shapes(_inputs(function), model.batch_size, inputs)
        arguments = dict(zip(_arguments(specs), specs, strict=True))
        serve = _fixed_function(model, function, arguments)
        return _FixedFunction(model, serve, list(function.graph.variables), arguments)

    def prepared(self, original: SavedModel, saved: Path, notes: tuple[str, ...]) -> PreparedSource:
        """Return what the worker tells of the function, which was saved to the path `saved`."""
        weights = sum(variable.dtype.size * variable.shape.num_elements() for variable in self.variables)
        specs, sizes = tuple(self.arguments.values()), (tree_bytes(self.model.path), weights)
        return PreparedSource(original, saved, specs, _outputs(self.function), *sizes, notes)


def _save(serve: Any, variables: list[Any], loaded: Any, folder: Path) -> None:
    """Save only the function, or the whole model if the function needs more than variables."""
    import tensorflow as tf

    if save_function(serve, variables, folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    module = tf.Module()
    module.resources = variables
    try:
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve})
    except AssertionError:  # the function refers to a table or another resource of the whole model
        module.resources = loaded
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve})


def _fixed_function(model: SavedModel | Keras, function: Any, arguments: Mapping[str, TensorSpec]) -> Any:
    """Return the function for inputs of exactly these shapes. Its parameters have the names of the arguments."""
    import tensorflow as tf

    serve = tf.function(
        lambda **samples: function(**{arguments[key].name: sample for key, sample in samples.items()}),
        autograph=False,
    )
    specs = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in arguments.items()}
    try:
        return serve.get_concrete_function(**specs)
    except (ValueError, TypeError) as error:
        shapes = ", ".join(f"{spec.name} {brackets(spec.shape or ())}" for spec in arguments.values())
        reason = " ".join(str(error).split())[:400]
        remedy = "correct model.batch_size and the shapes in inputs"
        raise SourceError(f"{model.path}: cannot take {shapes} ({remedy}): {reason}") from error


def _arguments(specs: Sequence[TensorSpec]) -> list[str]:
    names = [spec.name for spec in specs]
    are_identifiers = all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) for name in names)
    return names if are_identifiers else [f"input_{position}" for position in range(len(names))]


def _rename(folder: Path, names: Mapping[str, str]) -> None:
    """Give the signature's inputs the names of the source, in the part of the SavedModel that the converter reads."""
    from tensorflow.core.protobuf import saved_model_pb2

    if not names:
        return
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    inputs = saved.meta_graphs[0].signature_def[SIGNATURE].inputs
    for argument, name in names.items():
        inputs[name].CopyFrom(inputs.pop(argument))
    file.write_bytes(saved.SerializeToString())


def _load(model: SavedModel) -> Any:
    import tensorflow as tf

    model.check()
    try:
        return tf.saved_model.load(str(model.path), tags=list(model.tags))
    except (IndexError, tf.errors.DataLossError) as error:  # a file of the variables ends before its last byte
        raise SourceError(f"{model.path}: its files of variables are cut short or damaged: copy it again") from error
    except (*UNREADABLE, tf.errors.OpError) as error:
        raise cannot_load(model.path, error) from error


def _signature(model: SavedModel, loaded: Any) -> Any:
    keys = sorted(loaded.signatures)
    if model.signature not in keys:
        has = ", ".join(keys) if keys else "none at all: save it with signatures={'serving_default': function}"
        hint = did_you_mean(model.signature, keys)
        raise SourceError(f"{model.path}: there is no signature {model.signature!r}{hint}; it has {has}")
    function = loaded.signatures[model.signature]
    if not function.structured_input_signature[1] or not function.structured_outputs:
        what = "has no inputs" if function.structured_outputs else "has no outputs"
        raise SourceError(f"{model.path}: the signature {model.signature!r} {what}, so there is nothing to convert")
    return function


def _inputs(function: Any) -> tuple[TensorSpec, ...]:
    specs = function.structured_input_signature[1]  # their order differs between processes
    return tuple(_spec(name, specs[name]) for name in sorted(specs))


def _outputs(function: Any) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, spec) for name, spec in sorted(function.structured_outputs.items()))


def _spec(name: str, spec: Any) -> TensorSpec:
    shape = tuple(spec.shape) if spec.shape.rank is not None else None
    return TensorSpec(name, spec.dtype.name, shape)


def reference(prepared: PreparedSource) -> Callable[[Sample], dict[str, np.ndarray]]:
    """Return the source as a function from the arrays of a call to its outputs. TensorFlow uses one thread."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow already runs here with other numbers
        require_own_process()
        raise
    assert prepared.original is not None
    loaded = _load(prepared.original)
    function = _signature(prepared.original, loaded)

    def predict(arrays: Sample) -> dict[str, np.ndarray]:
        outputs = function(**{spec.name: tf.constant(arrays[spec.name]) for spec in prepared.inputs})
        return {name: output.numpy() for name, output in outputs.items() if loaded}

    return predict
