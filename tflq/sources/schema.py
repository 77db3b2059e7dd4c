"""The kinds of float model. Each class has the YAML keys of a kind and exports it as a SavedModel."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PositiveInt, Tag

from tflq.datasets import brackets
from tflq.errors import SourceError
from tflq.inputs import Input
from tflq.sources.keras_config import adapted, input_shapes
from tflq.sources.unreadable import UNREADABLE, is_damage, unknown_class
from tflq.strict import AsTuple, RecipePath, Strict, did_you_mean, or_words, shown

GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")
"""A SavedModel folder has one of these."""

MAX_METADATA = 2**20
"""The largest size in bytes of the metadata of a .keras file, which are a few lines."""

BatchSize = Annotated[
    PositiveInt | Literal["dynamic"],
    or_words("a whole number above 0", "dynamic"),
    Field(description="Samples per call. `dynamic` leaves the batch dimension open."),
]

Outputs = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AsTuple, Field(min_length=1)]
OUTPUTS = Field(
    None,
    description="Tensors at which the model ends, by their names in `tflq ops`, such as those before NMS. Default: the"
    " outputs of the signature.",
)
Recurrent = Annotated[
    Literal["auto", "fused", "loop"],
    Field(
        description="How integer files compute recurrent layers. `loop`: as the source's own loop (WHILE), with a body"
        " in integers. `fused`: LSTM layers of a Keras 3 file as UNIDIRECTIONAL_SEQUENCE_LSTM, of the same weights."
        " `auto`: `fused` if that is possible, unless a variant is int16x8_only or `calibration.ranges` is mse or a"
        " percentile, which fused ops do not support."
    ),
]


class SavedModel(Strict):
    """A SavedModel folder."""

    saved_model: RecipePath = Field(description="The folder that contains saved_model.pb.")
    signature: str = Field("serving_default", description="The signature to convert.")
    tags: Annotated[tuple[str, ...], AsTuple] = Field(
        ("serve",), description="Tags of the graph to load, if there are several graphs."
    )
    batch_size: BatchSize = 1
    outputs: Outputs | None = OUTPUTS

    @property
    def path(self) -> Path:
        return self.saved_model

    def check(self) -> None:
        """Raise SourceError if there is certainly no such model. This does not import TensorFlow."""
        if not self.path.exists():
            raise SourceError(f"{self.path}: there is no such folder")
        if not any((self.path / name).is_file() for name in GRAPH_FILES):
            raise SourceError(f"{self.path}: is not a SavedModel: it has no saved_model.pb")

    def saved(self, _folder: Path, _inputs: Mapping[str, Input]) -> tuple[SavedModel, tuple[str, ...]]:
        """Return the model, which is already a SavedModel, and no notes."""
        return self, ()


class Keras(Strict):
    """A `.keras` or `.h5` file of Keras 3 or Keras 2. Files of Keras 2 are loaded by tf-keras."""

    keras: RecipePath = Field(description="The .keras or .h5 file.")
    batch_size: BatchSize = 1
    outputs: Outputs | None = OUTPUTS
    recurrent: Recurrent = "auto"
    signature: Literal["serving_default"] = Field("serving_default", description="A Keras file has only this one.")
    tags: Annotated[tuple[Literal["serve"]], AsTuple] = Field(("serve",), description="A Keras file has only this one.")

    @property
    def path(self) -> Path:
        return self.keras

    def check(self) -> None:
        """Raise SourceError if there is certainly no such model. This does not import TensorFlow."""
        if not self.path.is_file():
            what = (
                "is a folder: if it is a SavedModel, give it as saved_model"
                if self.path.is_dir()
                else "there is no such file"
            )
            raise SourceError(f"{self.path}: {what}")
        _ = self.keras_version

    def saved(self, folder: Path, inputs: Mapping[str, Input]) -> tuple[SavedModel, tuple[str, ...]]:
        """Write the model as a SavedModel into the folder, and return it with sentences about what was changed.

        The model computes in float32, whatever its policy says, and has the sizes that the recipe gives for open ones.
        SourceError if Keras cannot load or export it.
        """
        copies = folder.parent / f"{folder.name}-float32"
        try:
            path, policies = adapted(self.path, copies, self._known_shapes(inputs))
            if self.keras_version < 3:
                import tf_keras

                tf_keras.models.load_model(path, compile=False).save(folder, save_format="tf")
            else:
                import keras

                loaded = keras.models.load_model(path, compile=False)
                self._refuse_quantized(loaded)
                loaded.export(folder, verbose=False)
        except zipfile.BadZipFile as error:
            raise SourceError(f"{self.path}: this archive is damaged: copy or write it again ({error})") from error
        except UNREADABLE as error:
            raise SourceError(f"{self.path}: {self._failure(inputs, error)}") from error
        finally:
            shutil.rmtree(copies, ignore_errors=True)
        return SavedModel(saved_model=folder), tuple(self._notes(policies))

    def _known_shapes(self, inputs: Mapping[str, Input]) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of inputs for which the recipe gives sizes."""
        shapes = {}
        for name, shape in input_shapes(self.path).items():
            config = inputs.get(name)
            if config is not None and (known := config.known_shape(shape)) is not None:
                shapes[name] = known
        return shapes

    def _failure(self, inputs: Mapping[str, Input], error: BaseException) -> str:
        """Return why Keras fails, and the remedy: the sizes that are open, or an export elsewhere."""
        try:
            shapes = input_shapes(self.path) | self._known_shapes(inputs)
        except UNREADABLE:
            shapes = {}
        reason = _root(error)
        if is_damage(error):
            return f"this file is damaged: copy or write it again ({reason})"
        if code := unknown_class(reason):
            return code
        for name, shape in shapes.items():
            if None in shape[1:] and "symbolic" in reason:
                return (
                    f"one of its layers needs known sizes, but the input {name!r} is {brackets(shape)}: give"
                    f" inputs.{name}.shape"
                )
        remedy = "if it needs your own Python code, export it there with model.export and give that as saved_model"
        return f"Keras cannot load or export it ({remedy}): {reason}"

    def _notes(self, policies: Collection[str]) -> Iterator[str]:
        if policies:
            names = " and ".join(sorted(policies))
            yield f"{self.path.name}: its layers have the policy {names}; they were loaded in float32"

    def _refuse_quantized(self, model: Any) -> None:
        for layer in getattr(model, "layers", ()):
            if mode := getattr(layer, "quantization_mode", None):
                raise SourceError(
                    f"{self.path}: layer {layer.name!r} was quantized by Keras ({mode}), which TensorFlow Lite does not"
                    " support: give the model from before quantize()"
                )
            self._refuse_quantized(layer)

    @property
    def keras_version(self) -> int:
        """The major version of the Keras that wrote the file. Raise SourceError if the file is incomplete."""
        try:
            version = _archive_version(self.path) if zipfile.is_zipfile(self.path) else _h5_version(self.path)
            return int(version.split(".")[0])
        except (OSError, KeyError, ValueError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            raise SourceError(
                f"{self.path}: is not a complete Keras model: expected a .keras archive or an HDF5 file"
            ) from error


def _root(error: BaseException) -> str:
    """Return the message of the first error. The message of the last error contains the whole configuration."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).split("Full object config")[0]
    return " ".join(text.split())[:400]


def _archive_version(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("metadata.json").file_size > MAX_METADATA:
            raise ValueError("the metadata are too large")
        return str(json.loads(archive.read("metadata.json"))["keras_version"])


def _h5_version(path: Path) -> str:
    stat = path.stat()
    return _probed(path, stat.st_mtime_ns, stat.st_size)


@lru_cache
def _probed(path: Path, _mtime: int, _size: int) -> str:
    """Return the version that a process of its own reads. ValueError if it fails or does not end."""
    command = [sys.executable, str(Path(__file__).with_name("h5_probe.py")), str(path)]
    process = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if process.returncode:
        raise ValueError("the file is damaged, or has only weights")
    return process.stdout.strip()


class TFLite(Strict):
    """A float `.tflite` file, as the exporters of PyTorch, ONNX and JAX write it."""

    tflite: RecipePath = Field(description="The .tflite file. Its weights are float32 or float16.")
    signature: str | None = Field(None, description="The signature to convert. Needed if the file has several.")
    batch_size: BatchSize = 1
    outputs: Outputs | None = OUTPUTS

    @property
    def path(self) -> Path:
        return self.tflite

    def check(self) -> None:
        """Raise SourceError if there is no such file or if it is no float model. This does not import TensorFlow."""
        from tflq.sources.tflite_guards import refuse_unsuitable  # recipes are read without reading a .tflite file

        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "there is no such file"
            raise SourceError(f"{self.path}: {what}")
        refuse_unsuitable(self.path, self.signature, self.outputs)


def is_converted_from_tflite(model: SavedModel | Keras | TFLite) -> bool:
    """Return whether all files are made from a .tflite file: the source itself, or the one that ends at its outputs."""
    return isinstance(model, TFLite) or model.outputs is not None


KIND_CLASSES: dict[str, type[SavedModel | Keras | TFLite]] = {
    "saved_model": SavedModel,
    "keras": Keras,
    "tflite": TFLite,
}
KINDS = tuple(KIND_CLASSES)
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
TFLITE_SUFFIX = ".tflite"
FILE_SUFFIXES = (*KERAS_SUFFIXES, TFLITE_SUFFIX)
"""The ends of the names of models that are files. A SavedModel is a folder."""


def kind_of(path: str) -> str:
    """Return the key of the kind of model that is at this path, by its name."""
    return "keras" if path.endswith(KERAS_SUFFIXES) else "tflite" if path.endswith(TFLITE_SUFFIX) else "saved_model"


def spelled_out(value: Any) -> Any:
    """Return a path as a mapping with the key of its kind, and any other value unchanged."""
    if isinstance(value, str):
        return {kind_of(value): value}
    return value


def _of_one_kind(value: Any) -> Any:
    if isinstance(value, Strict):
        return value
    value = spelled_out(value)
    if not isinstance(value, dict):
        raise ValueError(
            f"should be a path, or a mapping with the key saved_model, keras or tflite, not {shown(value)}"
        )
    if not _kinds(value):
        hints = filter(None, (did_you_mean(str(key), KINDS) for key in value))
        raise ValueError(
            f"the kind of model is missing: give one of the keys saved_model, keras, tflite{next(hints, '')}"
        )
    if len(given := [kind for kind in KINDS if kind in value]) > 1:
        raise ValueError(f"both {given[0]} and {given[1]} are given: remove one of them")
    return value


def _kinds(value: Any) -> list[str]:
    keys = value if isinstance(value, dict) else vars(value)
    return [f"<{kind}>" for kind in KINDS if kind in keys]


Model = Annotated[
    Annotated[SavedModel, Tag("<saved_model>")] | Annotated[Keras, Tag("<keras>")] | Annotated[TFLite, Tag("<tflite>")],
    Discriminator(lambda value: _kinds(value)[0]),
    BeforeValidator(_of_one_kind, json_schema_input_type=Path | SavedModel | Keras | TFLite),
    Field(description="The float model: a SavedModel folder, or a .keras, .h5 or float .tflite file."),
]
