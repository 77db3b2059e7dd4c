"""The kinds of float model. Each class has the YAML keys of a kind and exports it as a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from tflq.errors import SourceError
from tflq.sources.keras_file import Keras
from tflq.sources.saved_model import OUTPUTS, BatchSize, Outputs, SavedModel
from tflq.strict import RecipePath, Strict, did_you_mean, shown


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
