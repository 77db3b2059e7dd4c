"""Files of Keras 2 and Keras 3: their YAML keys, and how they are loaded and exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from tflq.datasets import brackets
from tflq.errors import SourceError
from tflq.inputs.schema import Input
from tflq.sources.keras_config import adapted, input_shapes
from tflq.sources.keras_function import TracedModel, traced
from tflq.sources.saved_model import OUTPUTS, BatchSize, Outputs, SavedModel
from tflq.sources.unreadable import UNREADABLE, is_damage, unknown_class
from tflq.strict import AsTuple, RecipePath, Strict

T = TypeVar("T")
MAX_METADATA = 2**20
"""The largest size in bytes of the metadata of a .keras file, which are a few lines."""

Recurrent = Annotated[
    Literal["auto", "fused", "loop"],
    Field(
        description="How integer files compute recurrent layers. `loop`: as the source's own loop (WHILE), with a body"
        " in integers. `fused`: LSTM layers of a Keras 3 file as UNIDIRECTIONAL_SEQUENCE_LSTM, of the same weights."
        " `auto`: `fused` if that is possible, unless a variant is int16x8_only or `calibration.ranges` is mse or a"
        " percentile, which fused ops do not support."
    ),
]


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
        _, notes = self._of_model(folder, inputs, lambda model: self._export(model, folder))
        return SavedModel(saved_model=folder), notes

    def traced(self, folder: Path, inputs: Mapping[str, Input]) -> tuple[TracedModel | None, tuple[str, ...]]:
        """Return the model with its function, whose signature is that of `saved`, and the same sentences.

        Return None in place of the model if it has to be saved, as all files of Keras 2. SourceError if Keras cannot
        load or trace it. The folder is for a temporary copy.
        """
        return self._of_model(folder, inputs, traced) if self.keras_version >= 3 else (None, ())

    def _export(self, model: Any, folder: Path) -> None:
        if self.keras_version < 3:
            model.save(folder, save_format="tf")
        else:
            model.export(folder, verbose=False)

    def _load(self, path: Path) -> Any:
        if self.keras_version < 3:
            import tf_keras

            return tf_keras.models.load_model(path, compile=False)
        import keras

        loaded = keras.models.load_model(path, compile=False)
        self._refuse_quantized(loaded)
        return loaded

    def _of_model(
        self, folder: Path, inputs: Mapping[str, Input], use: Callable[[Any], T]
    ) -> tuple[T, tuple[str, ...]]:
        """Load the model, and return what `use` makes of it, with sentences about what was changed."""
        copies = folder.parent / f"{folder.name}-float32"
        try:
            path, policies = adapted(self.path, copies, self._known_shapes(inputs))
            return use(self._load(path)), tuple(self._notes(policies))
        except zipfile.BadZipFile as error:
            raise SourceError(f"{self.path}: this archive is damaged: copy or write it again ({error})") from error
        except UNREADABLE as error:
            raise SourceError(f"{self.path}: {self._failure(inputs, error)}") from error
        finally:
            shutil.rmtree(copies, ignore_errors=True)

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
