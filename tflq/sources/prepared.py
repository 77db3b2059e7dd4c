"""What a worker returns about the float model: its signature, and the copy of it that is converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq.datasets import TensorSpec
from tflq.sources.saved_model import SavedModel

SIGNATURE = "serving_default"
"""The key of the only signature of a prepared model, and of each file that is converted from it."""
EXPORTED = "keras"
"""The folder of the SavedModel that Keras exports, if it has to; beside the one that is converted."""


@dataclass(frozen=True)
class SourceDescription:
    """A signature of the source. Dimensions that it leaves open are None."""

    signature: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signatures: tuple[str, ...]
    largest_weight: int
    """The number of elements of the largest float variable or constant; 0 if there is none."""


@dataclass(frozen=True)
class PreparedSource:
    """A float model with only the signature to convert."""

    original: SavedModel | None
    """The SavedModel that TensorFlow runs, to compare its outputs with those of the files.

    It is the source, or what was saved of a Keras model. None if the source is a .tflite file, which TensorFlow cannot
    run.
    """
    path: Path
    """The SavedModel that is converted, or the .tflite file that is the float32 file."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    size_bytes: int
    weight_bytes: int
    notes: tuple[str, ...] = ()
    """Sentences for the report about what was changed in the source."""

    @property
    def batch(self) -> int | None:
        """The number of samples in one call: 1 if there is no batch dimension, None if it can be any number."""
        return self.inputs[0].batch

    @property
    def is_tflite(self) -> bool:
        return self.original is None
