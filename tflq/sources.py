"""The float-model kinds: to a SavedModel with one signature of known shapes, and to reference predictions.

Everything here that imports TensorFlow is made to run in a worker.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Discriminator, Field, PositiveInt, Tag

from tflq.cache import tree_bytes
from tflq.datasets import Sample, TensorSpec
from tflq.errors import RecipeError, SourceError
from tflq.inputs import Input
from tflq.strict import AsTuple, RecipePath, Strict, did_you_mean, or_words, shown
from tflq.worker import Report

SIGNATURE = "serving_default"
"""The key of the only signature of every prepared model, and so of every file made of it."""


BatchSize = Annotated[
    PositiveInt | Literal["dynamic"],
    or_words("a whole number above 0", "dynamic"),
    Field(description="Samples that one call takes; `dynamic` leaves it open."),
]


class SavedModel(Strict):
    """A SavedModel folder."""

    saved_model: RecipePath = Field(description="The folder that holds saved_model.pb.")
    signature: str = Field("serving_default", description="The one that is converted; the file has no other.")
    tags: Annotated[tuple[str, ...], AsTuple] = Field(("serve",), description="Of the graph, where it has several.")
    batch_size: BatchSize = 1

    @property
    def path(self) -> Path:
        return self.saved_model

    def check(self) -> None:
        """SourceError where there is certainly no such model; needs no TensorFlow."""
        if not self.path.exists():
            raise SourceError(f"{self.path}: there is no such folder")
        if not any((self.path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise SourceError(f"{self.path}: is not a SavedModel: it has no saved_model.pb")

    def saved(self, _: Path) -> Path:
        """The model as a SavedModel: itself."""
        return self.path


class Keras(Strict):
    """A `.keras` or `.h5` file, of Keras 3 or of Keras 2 (loaded by tf-keras)."""

    keras: RecipePath = Field(description="A .keras or .h5 file.")
    batch_size: BatchSize = 1
    signature: Literal["serving_default"] = Field("serving_default", description="A Keras file has no other.")
    tags: Annotated[tuple[Literal["serve"]], AsTuple] = Field(("serve",), description="A Keras file has no other.")

    @property
    def path(self) -> Path:
        return self.keras

    def check(self) -> None:
        """SourceError where there is certainly no such model; needs no TensorFlow."""
        if not self.path.is_file():
            what = "is a folder; give it as saved_model" if self.path.is_dir() else "there is no such file"
            raise SourceError(f"{self.path}: {what}")
        self._keras_version()

    def saved(self, folder: Path) -> Path:
        """The model as a SavedModel, written into the folder; SourceError where Keras cannot load it."""
        try:
            if self._keras_version() < 3:
                import tf_keras

                tf_keras.models.load_model(self.path, compile=False).save(folder, save_format="tf")
            else:
                import keras

                keras.models.load_model(self.path, compile=False).export(folder, verbose=False)
        except (ValueError, TypeError, OSError, KeyError, AttributeError, NotImplementedError) as error:
            said = " ".join(str(error).split())[:400]
            remedy = "if it needs code of yours, load it there and give its export as saved_model"
            raise SourceError(f"{self.path}: Keras cannot load or export it ({remedy}): {said}") from error
        return folder

    def _keras_version(self) -> int:
        """The major version of the Keras that wrote the file."""
        try:
            version = _archive_version(self.path) if zipfile.is_zipfile(self.path) else _h5_version(self.path)
        except (OSError, KeyError, ValueError) as error:
            raise SourceError(f"{self.path}: is not a whole Keras model, in a .keras archive or HDF5 file") from error
        return int(version.split(".")[0])


def _archive_version(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return str(json.loads(archive.read("metadata.json"))["keras_version"])


def _h5_version(path: Path) -> str:
    import h5py

    with h5py.File(path) as file:
        file.attrs["model_config"]  # absent in a file of weights alone
        version = file.attrs["keras_version"]
        return version.decode() if isinstance(version, bytes) else str(version)


def _of_one_kind(value: Any) -> Any:
    if isinstance(value, Strict):
        return value
    if isinstance(value, str):
        return {"keras" if value.endswith((".keras", ".h5", ".hdf5")) else "saved_model": value}
    if not isinstance(value, dict):
        raise ValueError(f"should be a path, or a mapping with the key saved_model or keras, not {shown(value)}")
    if not _kinds(value):
        hints = filter(None, (did_you_mean(str(key), ("saved_model", "keras")) for key in value))
        raise ValueError(f"which kind of model? Give one of the keys saved_model, keras{next(hints, '')}")
    if len(_kinds(value)) > 1:
        raise ValueError("a model is of one kind, but both saved_model and keras are given")
    return value


def _kinds(value: Any) -> list[str]:
    keys = value if isinstance(value, dict) else vars(value)
    return [f"<{kind}>" for kind in ("saved_model", "keras") if kind in keys]


Model = Annotated[
    Annotated[SavedModel, Tag("<saved_model>")] | Annotated[Keras, Tag("<keras>")],
    Discriminator(lambda value: _kinds(value)[0]),
    BeforeValidator(_of_one_kind, json_schema_input_type=str | SavedModel | Keras),
    Field(description="The float model: a SavedModel folder, or a .keras or .h5 file."),
]


@dataclass(frozen=True)
class Described:
    """A signature as the source has it: dimensions that it leaves open are None."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signatures: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A float model with the one signature asked for, ready to convert."""

    saved_model: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    size_bytes: int
    weight_bytes: int

    @property
    def batch(self) -> int | None:
        """Samples that one call takes; 1 where the inputs have no batch dimension, None where any number will do."""
        return self.inputs[0].batch


def describe(_: Report, model: SavedModel | Keras, folder: Path) -> Described:
    """The signatures of the model; the folder is for what must be written to find out."""
    loaded, function = _load(model, folder)
    outputs = tuple(_spec(name, spec) for name, spec in function.structured_outputs.items())
    return Described(_inputs(function), outputs, tuple(loaded.signatures))


def prepare(_: Report, model: SavedModel | Keras, inputs: Mapping[str, Input], folder: Path) -> Prepared:
    """Export the asked signature, alone and with every shape known, into `folder`.

    The converter is given this export, not the source: it would convert another signature than the one asked for
    where a model has several, and lose variables that only the signature holds on to.
    """
    import tensorflow as tf

    loaded, function = _load(model, folder / "keras")
    known = _batched(fix(spec, model.batch_size, inputs.get(spec.name, Input())) for spec in _inputs(function))
    _refuse_strangers(inputs, known)
    module = tf.Module()
    module.loaded = loaded
    serve = tf.function(lambda **samples: function(**samples), autograph=False).get_concrete_function(
        **{spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in known}
    )
    tf.saved_model.save(module, str(folder / "model"), signatures={SIGNATURE: serve})
    outputs = tuple(_spec(name, spec) for name, spec in serve.structured_outputs.items())
    weights = sum(variable.dtype.size * variable.shape.num_elements() for variable in function.graph.variables)
    return Prepared(folder / "model", known, outputs, tree_bytes(model.path), weights)


def _load(model: SavedModel | Keras, folder: Path) -> tuple[Any, Any]:
    import tensorflow as tf

    model.check()
    saved = model.saved(folder)
    try:
        loaded = tf.saved_model.load(str(saved), tags=list(model.tags))
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise SourceError(f"{model.path}: TensorFlow cannot load it: {' '.join(str(error).split())[:400]}") from error
    keys = list(loaded.signatures)
    if model.signature not in keys:
        has = f"it has {', '.join(keys)}" if keys else "it has none at all"
        hint = did_you_mean(model.signature, keys)
        raise SourceError(f"{model.path}: there is no signature {model.signature!r}{hint}; {has}")
    return loaded, loaded.signatures[model.signature]


def _inputs(function: Any) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, spec) for name, spec in function.structured_input_signature[1].items())


def _spec(name: str, spec: Any) -> TensorSpec:
    shape = tuple(spec.shape) if spec.shape.rank is not None else None
    return TensorSpec(name, spec.dtype.name, shape)


def fix(spec: TensorSpec, batch_size: int | Literal["dynamic"], given: Input) -> TensorSpec:
    """The input with every dimension but the batch known; RecipeError where the recipe does not say them all."""
    if spec.dtype == "string":
        raise SourceError(f"input {spec.name!r} takes text, which no quantized model can: convert what follows it")
    shape = given.shape or spec.shape
    if shape is not None and given.shape is None and given.size is not None:
        rows, columns = (1, 2) if given.layout == "nhwc" else (2, 3)
        shape = tuple(_sized(i, known, {rows: given.size[0], columns: given.size[1]}) for i, known in enumerate(shape))
    if shape is not None and shape[:1] == (None,) and batch_size != "dynamic":
        shape = (batch_size, *shape[1:])
    if shape is None or None in shape[1:]:
        has = "an unknown number of dimensions" if shape is None else f"the shape {_brackets(shape)}"
        raise RecipeError(
            f"inputs.{spec.name}.shape is needed: the model's signature gives this input {has}, and a .tflite is made"
            f" for one; such as shape: {_brackets(tuple(d or 1 for d in shape or (1,)))} with the sizes you will use"
        )
    _refuse_mismatch(spec, shape)
    return TensorSpec(spec.name, spec.dtype, shape)


def _batched(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The inputs, with whether their first dimension is a batch: where they share it, and it is not all they have."""
    known = tuple(specs)
    shapes = [spec.shape or () for spec in known]
    is_batched = len({shape[:1] for shape in shapes}) == 1 and all(
        len(shape) > 1 or shape in ((1,), (None,)) for shape in shapes
    )
    return tuple(replace(spec, is_batched=is_batched) for spec in known)


def _sized(index: int, known: int | None, sizes: Mapping[int, int]) -> int | None:
    return sizes.get(index) if known is None else known


def _refuse_mismatch(spec: TensorSpec, shape: tuple[int | None, ...]) -> None:
    fits = spec.shape is None or (
        len(shape) == len(spec.shape)
        and all(None in (given, known) or given == known for given, known in zip(shape, spec.shape, strict=True))
    )
    if not fits:
        raise RecipeError(
            f"inputs.{spec.name}.shape: {_brackets(shape)} does not fit the model's {_brackets(spec.shape or ())}"
        )


def _brackets(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _refuse_strangers(inputs: Mapping[str, Input], known: tuple[TensorSpec, ...]) -> None:
    names = [spec.name for spec in known]
    for name in inputs:
        if name not in names:
            hint = did_you_mean(name, names)
            raise RecipeError(f"inputs.{name}: the model has no such input{hint}; it has {', '.join(names)}")


def reference(prepared: Prepared) -> Callable[[Sample], dict[str, np.ndarray]]:
    """The float model as a function of arrays, run by TensorFlow on one thread."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded = tf.saved_model.load(str(prepared.saved_model))
    function = loaded.signatures[SIGNATURE]

    def predict(arrays: Sample) -> dict[str, np.ndarray]:
        outputs = function(**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: output.numpy() for name, output in outputs.items() if loaded}

    return predict
